"""Promise: whatever is posted as a webhook is answered without a word, and takes nothing good with it."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
import structlog
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from deliveries import KEY, body_of, event, signature, subscribed, until_equal
from fuzzing import TOKENS, damaged, examples, lasting, spoiled
from servers import ROOMY, Service, service
from tieout.v1.connection_service_pb2 import Connection
from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_server.settings import Settings
from tieout_server.web import webhooks
from tieout_server.web.webhooks import LARGEST_BODY, WEBHOOKS
from tieout_server.xero.webhooks import XeroDeliveries

pytestmark = pytest.mark.timeout(120)

SOON = 20.0
GOOD = body_of(event(), event(eventCategory="CONTACT"), event(eventType="CREATE"))


@dataclass
class Around:
    """A running service that takes webhooks of a merchant who is connected."""

    sandbox: Sandbox
    database_url: str
    running: Service
    connection: Connection


@pytest.fixture(scope="module")
def around(loop: asyncio.Runner, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    copy = shutil.copy(sqlite_template, tmp_path_factory.mktemp("webhooks") / "tieout.db")
    with lasting(loop, lambda stack: opened(stack, f"sqlite:///{copy}")) as made:
        yield made


async def opened(stack: AsyncExitStack, database_url: str) -> Around:
    sandbox = await stack.enter_async_context(serve(SandboxSettings(contacts=20, invoices=60)))
    sandbox.limits.quota = ROOMY
    running = await stack.enter_async_context(service(sandbox, database_url, xero_webhook_key=KEY))
    return Around(sandbox, database_url, running, await running.connected())


async def answered(around: Around, sent: bytes, *, goes_on: bool = False) -> tuple[int, bytes]:
    """What comes back for these bytes: the status, and the body of the answer; 0 if the connection just ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", around.running.web_port)
    try:
        async with asyncio.timeout(SOON):
            writer.write(sent)
            if not goes_on:
                writer.write_eof()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return int(head.split()[1]), await reader.readexactly(int(length.partition(b":")[2]))
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0, b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A delivery as it goes over the wire."""
    lines = [f"POST {WEBHOOKS} HTTP/1.1", "Host: x", "Connection: close", *headers]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int) -> bytes:
    parts = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


BODIES = st.one_of(spoiled(GOOD), damaged(GOOD), st.just(GOOD), st.binary(max_size=200))


@given(body=BODIES, is_signed=st.booleans(), framing=st.sampled_from(["length", "chunked", "gzip", "deflate", "br"]))
@examples(50)
def test_whatever_is_posted_is_answered_without_a_word(
    around: Around,
    loop: asyncio.Runner,
    body: bytes,
    is_signed: bool,  # noqa: FBT001 - Hypothesis passes it so
    framing: str,
) -> None:
    sign = f"x-xero-signature: {signature(body) if is_signed else signature(body, 'another')}"
    if framing == "chunked":
        sent = request(chunked(body, 7_919), sign, "Transfer-Encoding: chunked")
    elif framing == "length":
        sent = request(body, sign, length=len(body))
    else:  # the bytes that travel are what is signed
        sent = request(body, sign, f"Content-Encoding: {framing}", length=len(body))

    async def case() -> None:
        status, said = await answered(around, sent, goes_on=True)
        note(str(status))
        assert said == b""
        if len(body) > LARGEST_BODY:
            assert status in {413, 0}
        else:
            assert status == (200 if is_signed else 401)

    loop.run(case())


@given(
    head=st.lists(st.from_regex(rb"\A[\x00-\xff]{0,60}\Z"), max_size=4),
    length=st.sampled_from([None, 0, 1, len(GOOD) + 9, -1, 10**30]),
)
@examples(20)
def test_what_is_no_http_takes_nobody_down(
    around: Around, loop: asyncio.Runner, head: list[bytes], length: int | None
) -> None:
    async def case() -> None:
        lines = [f"POST {WEBHOOKS} HTTP/1.1", "Host: x", f"x-xero-signature: {signature(GOOD)}"]
        lines += [f"Content-Length: {length}"] if length is not None else []
        sent = b"\r\n".join([line.encode() for line in lines] + head + [b"", GOOD])
        with patch.object(webhooks, "READ_WITHIN", 0.05):
            _, said = await answered(around, sent)
        assert b"Traceback" not in said
        assert b"site-packages" not in said
        good = request(GOOD, f"x-xero-signature: {signature(GOOD)}", length=len(GOOD))
        assert await answered(around, good, goes_on=True) == (200, b"")

    loop.run(case())


def test_a_body_without_end_is_not_waited_for(around: Around, loop: asyncio.Runner) -> None:
    sent = request(b"{", f"x-xero-signature: {signature(GOOD)}", length=len(GOOD))
    with patch.object(webhooks, "READ_WITHIN", 0.05):
        assert loop.run(answered(around, sent, goes_on=True)) == (408, b"")


def test_a_body_beyond_the_bound_is_refused_however_it_is_framed(around: Around, loop: asyncio.Runner) -> None:
    large = b" " * (LARGEST_BODY + 1)
    for sent in (request(large, length=len(large)), request(chunked(large, 65_536), "Transfer-Encoding: chunked")):
        status, said = loop.run(answered(around, sent, goes_on=True))
        assert (status, said) in {(413, b""), (0, b"")}  # it may be cut off before it has sent all


@given(rubbish=st.lists(st.tuples(st.integers(0, 3), spoiled(json.dumps(event()).encode())), max_size=4))
@examples(80)
def test_rubbish_that_xero_signed_takes_no_good_event_with_it(rubbish: list[tuple[int, bytes]]) -> None:
    good = [
        json.dumps(event(resourceId=f"22222222-2222-4222-8222-22222222222{number}")).encode() for number in range(3)
    ]
    parts = list(good)
    for place, part in rubbish:
        with contextlib.suppress(ValueError, RecursionError):
            msgspec.json.decode(part)
            parts.insert(place, part)
    body = b'{"events": [' + b",".join(parts) + b"]}"
    with structlog.testing.capture_logs():  # each that is not understood is logged
        read = XeroDeliveries(Settings(xero_webhook_key=SecretStr(KEY))).read(body, signature(body))
    assert read is not None
    ids = [notice.xero_id for notice in read]
    assert {json.loads(one)["resourceId"] for one in good} <= set(ids)
    for notice in read:
        assert notice.xero_tenant_id.isprintable()
        assert 1900 <= notice.at.year <= 2999


def test_after_all_of_it_what_happens_in_xero_is_here_a_moment_later(around: Around, loop: asyncio.Runner) -> None:
    async def case() -> None:
        await subscribed(around.sandbox, around.running)
        for token in TOKENS:
            body = f'{{"events": [{token}, {json.dumps(event(tenantId="x"))}]}}'.encode("utf-8", "surrogatepass")
            sent = request(body, f"x-xero-signature: {signature(body)}", length=len(body))
            status, said = await answered(around, sent, goes_on=True)
            assert (status in {200, 413}, said) == (True, b"")
        contact = next(iter(around.sandbox.books.contacts.values()))
        around.sandbox.books.rename_contact(contact.id, "Still Here Ltd")
        await until_equal(around.sandbox, around.database_url, around.connection.id)

    loop.run(case())
