"""Who may control the sandbox: programs and its own page, and no foreign site through a browser."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from sandbox_caller import Caller
from tieout_sandbox.__main__ import main
from tieout_sandbox.local import guarded


async def answered(caller: Caller, method: str, path: str, **headers: str) -> int:
    async with caller.http.request(method, f"{caller.sandbox.url}{path}", headers=headers, data=b"{}") as response:
        return response.status


@pytest.mark.parametrize("path", ["/sandbox", "/sandbox/state", "/sandbox/webhooks", "/sandbox/requests", "/"])
async def test_a_name_that_was_pointed_here_is_not_answered(caller: Caller, path: str) -> None:
    assert await answered(caller, "GET", path) == 200
    for host in ("evil.example", "evil.example:9440", "127.0.0.1.nip.io", "[::1", ""):
        assert await answered(caller, "GET", path, Host=host) == 403


async def test_a_neighbour_by_address_or_short_name_is_answered(caller: Caller) -> None:
    for host in ("localhost:9440", "192.168.7.7:9440", "[::1]:9440", "sandbox", "sandbox:9440"):
        assert await answered(caller, "GET", "/sandbox", Host=host) == 200


async def test_a_page_of_another_site_changes_nothing(caller: Caller) -> None:
    before = caller.sandbox.clock.now()
    plain = {"Content-Type": "text/plain"}  # what a form or a simple POST may send without asking
    for told in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for path in ("/sandbox/clock", "/sandbox/webhooks", f"/sandbox/organisations/{caller.tenant_id}/delete"):
            assert await answered(caller, "POST", path, **plain, **told) == 403
        assert await answered(caller, "DELETE", "/sandbox/faults", **told) == 403
    assert caller.sandbox.clock.now() == before
    assert len(caller.sandbox.organisations) == 2


async def test_its_own_page_and_programs_may(caller: Caller) -> None:
    own = {"Origin": caller.sandbox.url, "Sec-Fetch-Site": "same-origin"}
    assert await answered(caller, "POST", "/sandbox/clock", **own) == 200
    assert await answered(caller, "POST", "/sandbox/clock") == 200


async def test_a_link_from_another_site_may_be_followed_to_the_page(caller: Caller) -> None:
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert await answered(caller, "GET", "/", **headers) == 200


async def test_what_plays_xero_is_not_touched(caller: Caller) -> None:
    headers = caller.headers(Host="api.xero.com", Origin="https://evil.example")
    assert await answered(caller, "GET", "/api.xro/2.0/Organisation", **headers) == 200


async def test_the_name_it_listens_on_is_good_even_with_dots() -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response()

    guard = guarded("Sandbox.Internal.example")
    for host, status in (("sandbox.internal.example:80", 200), ("other.example", 403)):
        request = make_mocked_request("POST", "/sandbox/clock", {"Host": host})
        assert (await guard(request, answer)).status == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.7", "sandbox", "127.0.0.1.nip.io", ""])  # noqa: S104 - refused
def test_it_listens_beyond_this_machine_only_when_told_to_outright(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--host", host, "--port", "0"]) == 2
    assert "--anyone-may-control" in capsys.readouterr().err
