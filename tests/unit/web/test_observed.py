"""Requests to the web server are counted by route and status, and nothing of their addresses is kept."""

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import generate_latest

from fakes import World
from tieout_server import measures
from tieout_server.web.app import build


async def why_not_ready() -> str:
    return ""


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/xero/callback?state=s3cret&code=c0de", "/xero/callback", "400"),
        ("GET", "/readyz", "/readyz", "200"),
        ("GET", "/s3cret", "none", "404"),
        ("POST", "/readyz?s3cret", "none", "405"),
    ],
)
async def test_a_request_is_counted_by_its_route(
    around: World, method: str, path: str, route: str, status: str
) -> None:
    def count() -> float:
        labels = {"route": route, "status": status}
        return measures.REGISTRY.get_sample_value("tieout_web_requests_total", labels) or 0.0

    before = count()
    async with (
        TestClient(TestServer(build(around.connections, why_not_ready))) as browser,
        browser.request(method, path) as answer,
    ):
        assert str(answer.status) == status
    assert count() == before + 1
    assert b"s3cret" not in generate_latest(measures.REGISTRY)
