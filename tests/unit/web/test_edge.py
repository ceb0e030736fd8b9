"""The edge of the web server: every answer is protected, nobody asks too often, nothing arrives for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from fakes import World
from tieout_server.connections.messages import Connect
from tieout_server.settings import Settings
from tieout_server.web import connection
from tieout_server.web.app import CALLBACK, build
from tieout_server.web.edge import EACH, HEADERS, Edge, TrustedProxiesError
from tieout_server.web.server import WebServer

Client = TestClient[Any, Any]
BURST, PAUSE = EACH


async def is_ready() -> str:
    return ""


@pytest_asyncio.fixture
async def browser(around: World) -> AsyncIterator[Client]:
    async with TestClient(
        TestServer(build(around.connections, is_ready, edge=Edge(is_https=True, now=lambda: 0.0)))
    ) as client:
        yield client


@pytest_asyncio.fixture
async def server(around: World) -> AsyncIterator[WebServer]:
    made = WebServer(build(around.connections, is_ready), "127.0.0.1:0")
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", CALLBACK, 400),
        ("HEAD", CALLBACK, 405),
        ("POST", CALLBACK, 405),
        ("OPTIONS", CALLBACK, 405),
        ("TRACE", CALLBACK, 405),
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
    ],
)
async def test_every_answer_is_protected_and_says_nothing_of_its_maker(
    browser: Client, method: str, path: str, status: int
) -> None:
    async with browser.request(
        method, path, headers={"X-Mine": "a-secret", "Origin": "https://evil.example"}
    ) as answer:
        assert answer.status == status
        for name, value in HEADERS.items():
            assert answer.headers[name] == value or "sha256-" in answer.headers[name], name
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert "Server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]
        assert "a-secret" not in await answer.text()


async def test_https_is_insisted_on_only_where_browsers_use_it() -> None:
    answers = []
    for url in ("https://tieout.example", "http://localhost:7441"):
        answer = web.Response()
        await Edge.of(Settings(web_url=url)).protect(make_mocked_request("GET", "/"), answer)
        answers.append("Strict-Transport-Security" in answer.headers)
    assert answers == [True, False]


@pytest.mark.parametrize(
    "sent",
    [
        b"a-secret\r\n\r\n",
        b"GET /xero/callback?state=a-secret HTTP/9.9\r\n\r\n",
        b"GET /xero/callback?state=a-secret HTTP/1.1\r\nbad header a-secret\r\n\r\n",
        b"GET /" + b"a-secret" * 2000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a-secret" * 2000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a-secret\r\n" * 100 + b"\r\n",
        b"POST /xero/webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: a-secret\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_quoted_nowhere(
    server: WebServer, sent: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(server, sent)
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400")), answer
    for name in HEADERS:
        assert name.encode() in answer
    for place in (answer.decode(), caplog.text, *capfd.readouterr()):
        assert "a-secret" not in place


async def test_the_host_that_is_asked_for_means_nothing(server: WebServer) -> None:
    answer = await ask(server, f"GET {CALLBACK} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"evil.example" not in answer


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_arrive_is_not_waited_for(
    server: WebServer, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_WITHIN", 0.2)
    assert await ask(server, sent) == b""


async def test_the_next_head_may_take_no_longer_than_the_first(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(whole)
    assert (await reader.readuntil(b"webhooks: off\n")).startswith(b"HTTP/1.1 200")
    monkeypatch.setattr(connection, "HEAD_WITHIN", 0.2)
    await asyncio.sleep(0.4)  # to be idle is no offence
    writer.write(whole)
    assert (await reader.readuntil(b"webhooks: off\n")).startswith(b"HTTP/1.1 200")
    writer.write(b"GET /healthz HTT")
    assert await reader.read() == b""
    writer.close()


async def test_connections_beyond_the_most_are_closed_unheard(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 2)
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    for reader, writer in held:  # they are served
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await reader.read() == b""
    for _, opened in (*held, (reader, writer)):
        opened.close()


async def test_a_body_that_nobody_reads_is_not_waited_for(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNREAD_WITHIN", 0.2)
    answer = await ask(server, b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 404")


async def ask(server: WebServer, sent: bytes) -> bytes:
    """All that is answered to these bytes until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer


async def test_whoever_visits_too_often_is_asked_to_wait_and_uses_up_nothing(browser: Client, around: World) -> None:
    for _ in range(BURST):
        async with browser.get(CALLBACK, params={"state": "guessed"}) as answer:
            assert answer.status == 400
    started = await around.connections.connect(Connect("m-1"))
    state = started.consent.authorization_url.partition("state=")[2].partition("&")[0]
    async with browser.get(CALLBACK, params={"state": state, "code": "c"}) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "1"
        assert "reload this page" in await answer.text()
    async with browser.get("/healthz") as answer:
        assert answer.status == 200  # machines are not meant
    assert await around.connections.get(started.link.id) == started.link


def of(remote: str, forwarded: str = "") -> web.Request:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return make_mocked_request("GET", "/", headers=headers).clone(remote=remote)


@pytest.mark.parametrize(
    ("remote", "forwarded", "asks"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not a proxy of ours: it may say what it likes
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # what comes before was said by the visitor
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "not an address", "10.0.0.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_only_a_trusted_proxy_says_who_asks(remote: str, forwarded: str, asks: str) -> None:
    edge = Edge(trusted_proxies="10.0.0.0/8, fd00::1")
    assert edge.address(of(remote, forwarded)) == asks


def test_without_a_trusted_proxy_nobody_can_pretend_to_be_somebody_else() -> None:
    edge = Edge(now=lambda: 0.0)
    waits = [edge.wait(of("203.0.113.9", f"198.51.100.{n}")) for n in range(BURST + 1)]
    assert waits == [0] * BURST + [PAUSE]


def test_a_site_of_ipv6_is_one_visitor_whatever_address_it_takes() -> None:
    edge = Edge(now=lambda: 0.0)
    assert [edge.wait(of(f"2001:db8::{n:x}")) for n in range(BURST + 1)][-1] == PAUSE
    assert edge.wait(of("2001:db8:0:1::1")) == 0


def test_all_together_are_limited_and_one_who_is_over_their_own_limit_takes_nothing_from_the_others() -> None:
    edge = Edge(now=lambda: 0.0)
    for _ in range(1000):
        edge.wait(of("203.0.113.9"))
    others = [edge.wait(of(f"198.51.100.{n}")) for n in range(200)]
    assert others.count(0) == 200 - BURST
    assert others[-1] == 1


@pytest.mark.parametrize("proxies", ["proxy.internal", "10.0.0.1/8", "*"])
def test_a_proxy_that_is_no_address_is_named_at_the_start(proxies: str) -> None:
    with pytest.raises(TrustedProxiesError, match="TIEOUT_WEB_TRUSTED_PROXIES"):
        Edge(trusted_proxies=proxies)


def test_a_proxy_of_ones_own_that_is_not_trusted_is_told_of_once(capfd: pytest.CaptureFixture[str]) -> None:
    edge = Edge()
    for remote in ("8.8.8.8", "10.0.0.1", "10.0.0.2"):
        edge.address(of(remote, "198.51.100.1"))
    said = "".join(capfd.readouterr())
    assert said.count("TIEOUT_WEB_TRUSTED_PROXIES") == 1
    assert "10.0.0.1" in said
    Edge(trusted_proxies="10.0.0.0/8").address(of("10.0.0.1", "198.51.100.1"))
    assert "TIEOUT_WEB_TRUSTED_PROXIES" not in "".join(capfd.readouterr())
