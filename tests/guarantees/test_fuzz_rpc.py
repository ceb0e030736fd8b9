"""Promise: whatever a caller sends is answered, soon, with a status that says what to do: never UNKNOWN or INTERNAL.

Messages of every RPC are made up from its descriptor, and tokens from those that were really given out.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from hypothesis import event, given
from hypothesis import strategies as st

from fuzzing import examples, lasting
from servers import ROOMY, Service, service
from tieout.v1 import (
    connection_service_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout_sandbox import SandboxSettings, serve

pytestmark = pytest.mark.timeout(120)

QUICK = 60.0
SOON = 20.0
"""Seconds within which a call is answered on a machine that is busy with other things."""
MESSAGES = 2
"""Of a stream that are waited for: a watch that was accepted has no end."""
SILENCE = 0.2
"""Seconds after which a watch that was accepted is taken to have nothing more to say."""
OURS = set(grpc.StatusCode) - {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in (
        connection_service_pb2, sync_service_pb2, receivables_service_pb2, reconciliation_service_pb2,
        payment_export_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}  # fmt: skip
ENDINGS = {"Disconnect", "Reconnect", "PurgeMerchant"}
"""What would end the one connection that all examples share: not asked of that one."""
NOBODYS: dict[str, Sequence[str]] = {"connection_id": ["con_none"], "merchant_id": ["nobody"]}


@dataclass
class Around:
    """A running service with a merchant whose books are here, and a channel to it."""

    running: Service
    channel: aio.Channel
    known: Mapping[str, Sequence[str]]
    """By field: values that exist."""
    tokens: dict[str, str] = field(default_factory=dict)
    """By method: a token that it has given out."""


@pytest.fixture(scope="module")
def around(loop: asyncio.Runner, lasting_database_url: str) -> Iterator[Around]:
    with lasting(loop, lambda stack: opened(stack, lasting_database_url)) as made:
        yield made


async def opened(stack: AsyncExitStack, database_url: str) -> Around:
    sandbox = await stack.enter_async_context(serve(SandboxSettings(contacts=20, invoices=60)))
    sandbox.limits.quota = ROOMY
    running = await stack.enter_async_context(service(sandbox, database_url, clock_speed=QUICK))
    channel = await stack.enter_async_context(aio.insecure_channel(running.target))
    connection = await running.connected()
    await running.sync(connection.id)
    client = running.client
    customers = [one async for one in client.receivables.list_customers(connection.id)]
    invoices = [one async for one in client.receivables.list_invoices(connection.id)]
    syncs = [one async for one in client.syncs.list(connection.id)]
    known = {
        "connection_id": [connection.id],
        "connection_ids": [connection.id],
        "merchant_id": [connection.merchant_id],
        "customer_id": [one.id for one in customers[:3]],
        "customer_ids": [one.id for one in customers[:3]],
        "xero_contact_id": [one.xero_contact_id for one in customers[:3]],
        "invoice_id": [one.id for one in invoices[:3]],
        "xero_invoice_id": [one.xero_invoice_id for one in invoices[:3]],
        "invoice_number": [one.number for one in invoices[:3]],
        "sync_id": [one.id for one in syncs],
        "xero_tenant_id": [connection.organisation.xero_tenant_id],
        "currency_code": ["NZD"],
        "amount": ["1.00"],
        "paid_on": ["2026-11-20"],
    }
    around = Around(running, channel, known)
    start = "/tieout.v1.ReconciliationService/StartReconciliation"
    known["reconciliation_id"] = [(await answered(around, start, asked(around, start))).reconciliation.id]
    around.tokens |= await given_out(around)
    return around


Known = Mapping[str, Sequence[str]]
TEXTS = (
    "", " ", "\x00", "a\x00b", "\n", "\x7f", "\u202e", "\ufeff", "\U0010ffff", "e\u0301" * 20, "'; DROP TABLE x; --",
    "%", "_",
    "\\", "{}", "../..", "NaN", "-1", "1e400", "9" * 40, "0.00001", "2026-02-30", "0001-01-01", "9999-12-31", "x" * 101,
    "x" * 5_000, "x" * 1_000_000, "con_1", "AAAA", "AQAAAAAAAAAA", "AQ//////////", "http://localhost/", "javascript:1",
    "https://x@127.0.0.1/", "http://[::1", "\U0001f600" * 300,
)  # fmt: skip
INTEGERS = (0, 1, -1, 2, 7, 1_000, 2**31 - 1, -(2**31), 99)
LARGE = (0, 1, -1, 2**63 - 1, -(2**63), 253402300799, -62135596800)


@st.composite
def messages(draw: st.DrawFn, kind: Any, known: Known, *, is_sound: bool = False) -> Message:  # noqa: ANN401 - a descriptor
    """Any message of this kind, often with what exists where it belongs; a sound one is rarely refused for its form."""
    message: Message = GetMessageClass(kind)()
    if is_sound and kind.full_name == timestamp_pb2.Timestamp.DESCRIPTOR.full_name:
        return message
    if kind.full_name == timestamp_pb2.Timestamp.DESCRIPTOR.full_name:
        message.seconds = draw(st.sampled_from(LARGE))  # type: ignore[attr-defined] # made up from a descriptor
        message.nanos = draw(st.sampled_from(INTEGERS))  # type: ignore[attr-defined] # likewise
        return message
    for part in kind.fields:
        if draw(st.integers(0, 3)) == 0 and part.name not in known:
            continue
        value = messages(part.message_type, known, is_sound=is_sound) if part.message_type else _values(part, known)
        if is_sound and not part.message_type:
            value = _sound(part, known)
        if not part.is_repeated:
            _set(message, part, draw(value))
            continue
        values = getattr(message, part.name)
        for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
            values.append(draw(value))
        if not is_sound and draw(st.integers(0, 15)) == 0:
            values.extend(list(values[:1]) * draw(st.sampled_from([50, 1_001, 10_000])))
    return message


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:  # noqa: ANN401 - of any type
    if field.message_type:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _values(field: FieldDescriptor, known: Known) -> st.SearchStrategy[Any]:
    """Values that fit the field's type, whatever they mean."""
    if field.enum_type:
        return st.sampled_from([*field.enum_type.values_by_number, 99, -1, 2**31 - 1])
    if field.type == FieldDescriptor.TYPE_STRING and field.name in known:
        return st.one_of(st.sampled_from(known[field.name]), st.sampled_from(TEXTS), st.text(max_size=30))
    return _BY_TYPE[field.type]


def _sound(field: FieldDescriptor, known: Known) -> st.SearchStrategy[Any]:
    """Values that are likely to be taken."""
    if field.enum_type:
        return st.sampled_from(list(field.enum_type.values_by_number))
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(known.get(field.name, ["", "", "x1", "\U0001f600"]))
    return st.booleans() if field.type == FieldDescriptor.TYPE_BOOL else st.sampled_from([0, 1, 5])


_BY_TYPE: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.one_of(st.sampled_from(TEXTS), st.text(max_size=30)),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=30),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.sampled_from(INTEGERS),
    FieldDescriptor.TYPE_INT64: st.sampled_from(LARGE),
    FieldDescriptor.TYPE_UINT32: st.sampled_from([0, 1, 2**32 - 1]),
    FieldDescriptor.TYPE_UINT64: st.sampled_from([0, 1, 2**64 - 1]),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
}


async def called(
    around: Around, path: str, method: MethodDescriptor, sent: Sequence[bytes], metadata: Sequence[tuple[str, str]] = ()
) -> grpc.StatusCode:
    """How this call ends; one of a stream after so many messages, if it goes on by itself."""
    make: Any = getattr(around.channel, _KINDS[method.client_streaming, method.server_streaming])
    request: Any = _each(sent) if method.client_streaming else sent[0]
    call = make(path)(request, metadata=metadata)
    try:
        if not method.server_streaming:
            async with asyncio.timeout(SOON):
                await call
            return grpc.StatusCode.OK
        for _ in range(MESSAGES):
            async with asyncio.timeout(SILENCE):
                if await call.read() is aio.EOF:
                    break
    except TimeoutError:
        assert method.server_streaming, "no answer"
    except aio.AioRpcError as refusal:
        status, said = refusal.code(), refusal.details() or ""
        told = (path, status, said, sent)
        assert not any(inside in said for inside in ("Traceback", 'File "', "sqlalchemy", "psycopg")), told
        assert status in OURS, told
        return status
    finally:
        call.cancel()
    return grpc.StatusCode.OK


_KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


async def _each(sent: Sequence[bytes]) -> AsyncIterator[bytes]:
    for one in sent:
        yield one


async def is_well(around: Around) -> None:
    """It serves the next call as if nothing had been."""
    connection = await around.running.client.connections.get(around.known["connection_id"][0])
    assert connection.merchant_id == "acme"


@given(path=st.sampled_from(sorted(METHODS)), data=st.data())
@examples(90)
def test_any_message_is_answered_with_a_status_of_ours(
    around: Around, loop: asyncio.Runner, path: str, data: st.DataObject
) -> None:
    method = METHODS[path]
    known = dict(around.known) | (NOBODYS if method.name in ENDINGS else {})
    count = data.draw(st.integers(0, 3)) if method.client_streaming else 1
    made = messages(method.input_type, known, is_sound=data.draw(st.booleans()))
    sent = [data.draw(made).SerializeToString() for _ in range(count)]

    async def case() -> None:
        event(str(await called(around, path, method, sent)))
        await is_well(around)

    loop.run(case())


@given(path=st.sampled_from(sorted(METHODS)), data=st.data())
@examples(25)
def test_bytes_that_are_no_message_are_an_invalid_argument(
    around: Around, loop: asyncio.Runner, path: str, data: st.DataObject
) -> None:
    method = METHODS[path]
    sent = data.draw(st.one_of(st.sampled_from(NO_MESSAGES), st.binary(max_size=60)))
    metadata = data.draw(st.lists(METADATA, max_size=3))

    async def case() -> None:
        status = await called(around, path, method, [sent], metadata)
        event(str(status))
        if sent in NO_MESSAGES:
            assert status is grpc.StatusCode.INVALID_ARGUMENT
        await is_well(around)

    loop.run(case())


METADATA = st.tuples(st.from_regex(r"\A[a-z][a-z0-9_.]{0,9}\Z"), st.from_regex(r"\A[!-~]{0,40}\Z"))
NO_MESSAGES = (
    b"\x0a\xff",  # a text that is longer than the message
    b"\x0a\x01\xff",  # a text that is not UTF-8
    b"\xff" * 40,
    b"\x0a" * 3,
)


def test_what_was_fuzzed_left_nothing_behind(around: Around, loop: asyncio.Runner) -> None:
    """Tasks, threads and open files are as many after 250 refusals as they were after 50."""

    async def refusals(count: int) -> tuple[int, int, int]:
        for number in range(count):
            path = sorted(METHODS)[number % len(METHODS)]
            await called(around, path, METHODS[path], [b"\x0a\x01\x00"])
        await asyncio.sleep(0.2)
        ours = psutil.Process()
        return len(asyncio.all_tasks()), ours.num_fds(), ours.num_threads()

    async def case() -> None:
        before, after = await refusals(50), await refusals(200)
        assert all(now <= then + 2 for now, then in zip(after, before, strict=True)), (before, after)

    loop.run(case())


LISTS = sorted(path for path, method in METHODS.items() if "page_token" in method.input_type.fields_by_name)
WATCHES = sorted(path for path, method in METHODS.items() if "after" in method.input_type.fields_by_name)


def asked(around: Around, path: str, **more: object) -> Message:
    """A sound request of this method about what exists."""
    fields = METHODS[path].input_type.fields_by_name
    there = {
        name: around.known[name][0] for name in ("connection_id", "sync_id", "reconciliation_id") if name in fields
    }
    if "sync_id" in there:
        del there["connection_id"]
    request: Message = GetMessageClass(METHODS[path].input_type)(**there, **more)
    return request


async def given_out(around: Around) -> dict[str, str]:
    """By method: a token that it has given out, as far as there is enough to give one."""
    found = {}
    for path in LISTS:
        answer = await answered(around, path, asked(around, path, page_size=1))
        found[path] = getattr(answer, "next_page_token", "")
    for path in WATCHES:
        answer = await answered(around, path, asked(around, path))
        found[path] = getattr(answer, "resume_token", "") or answer.progress.resume_token
    return {path: token for path, token in found.items() if token}


async def answered(around: Around, path: str, request: Message) -> Any:  # noqa: ANN401 - the response of any method
    """The first answer to this request."""
    method = METHODS[path]
    make: Any = around.channel.unary_stream if method.server_streaming else around.channel.unary_unary
    parse = GetMessageClass(method.output_type).FromString
    call: Any = make(path, response_deserializer=parse)(request.SerializeToString())
    try:
        async with asyncio.timeout(SOON):
            return await (call.read() if method.server_streaming else call)
    finally:
        call.cancel()


@st.composite
def tampered(draw: st.DrawFn, tokens: Sequence[str]) -> str:
    """Text that is no token, or one that was changed on its way."""
    token = draw(st.sampled_from(tokens))
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    at = draw(st.integers(0, len(raw) - 1))
    changed = (
        raw[:at] + bytes([raw[at] ^ 1 << draw(st.integers(0, 7))]) + raw[at + 1 :],
        raw[:at],
        raw + raw,
        raw[:at] + draw(st.binary(min_size=1, max_size=12)) + raw[at:],
        draw(st.binary(max_size=60)),
        b"[" * 700,
    )
    encoded = base64.urlsafe_b64encode(draw(st.sampled_from(changed))).decode().rstrip("=")
    return draw(st.sampled_from([encoded, encoded, encoded, token + "!", "\u00e9" * 9, "x" * 100_000, token + "\x00"]))


@given(data=st.data())
@examples(80)
def test_a_token_that_was_changed_never_leads_to_another_page(
    around: Around, loop: asyncio.Runner, data: st.DataObject
) -> None:
    tokens = around.tokens
    path = data.draw(st.sampled_from([path for path in LISTS if path in tokens]))
    others = [token for other, token in tokens.items() if other != path]
    token = data.draw(st.one_of(tampered([tokens[path]]), st.sampled_from(others)))
    request = asked(around, path, page_size=1, page_token=token)
    if token and token != tokens[path]:
        status = loop.run(called(around, path, METHODS[path], [request.SerializeToString()]))
        assert status is grpc.StatusCode.INVALID_ARGUMENT, token


@given(path=st.sampled_from(WATCHES), data=st.data())
@examples(25)
def test_a_resume_token_that_was_changed_is_refused_or_a_place_in_the_same_log(
    around: Around, loop: asyncio.Runner, path: str, data: st.DataObject
) -> None:
    tokens = around.tokens
    token = data.draw(st.one_of(tampered(sorted(tokens.values())), st.sampled_from(sorted(tokens.values()))))
    if path in tokens:
        request = asked(around, path, after=token)
        status = loop.run(called(around, path, METHODS[path], [request.SerializeToString()]))
        assert status in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.OK}
        event(str(status))
