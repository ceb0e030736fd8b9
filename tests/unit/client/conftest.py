"""Real servers on loopback for the client: asyncio ones for the library, threaded ones for the command line.

A test serves a dictionary: the name of a call, `SyncService/GetSync`, and the function that answers it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from typer.testing import CliRunner, Result

from tieout import Client
from tieout.cli.app import app
from tieout.v1.connection_service_pb2 import Connection, GetConnectionResponse, ListConnectionsResponse
from tieout.watch import Patience

Answer = Callable[..., object]


def serialized(message: Message) -> bytes:
    return message.SerializeToString()


def handler(method: MethodDescriptor, answer: Answer) -> grpc.RpcMethodHandler[Message, Message]:
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    make = grpc.stream_unary_rpc_method_handler if method.client_streaming else make
    request = GetMessageClass(method.input_type)
    return make(answer, request_deserializer=request.FromString, response_serializer=serialized)


def handlers(answers: Mapping[str, Answer]) -> Iterator[grpc.GenericRpcHandler]:
    for name, answer in answers.items():
        service, _, call = name.partition("/")
        method = Default().FindServiceByName(f"tieout.v1.{service}").methods_by_name[call]
        yield grpc.method_handlers_generic_handler(f"tieout.v1.{service}", {call: handler(method, answer)})


async def at_once(_seconds: float) -> None:
    """Instead of a pause."""


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Serves calls and gives a client for them."""
    async with AsyncExitStack() as stack:

        async def connect(
            answers: Mapping[str, Answer],
            *,
            patience: Patience | None = None,
            token: str | Callable[[], str] = "",
            timeout: timedelta = timedelta(seconds=30),  # noqa: ASYNC109 - the client's own
        ) -> Client:
            server = aio.server()
            server.add_generic_rpc_handlers(tuple(handlers(answers)))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            client = Client(
                f"127.0.0.1:{port}", patience=patience or Patience(sleep=at_once), token=token, timeout=timeout
            )
            return await stack.enter_async_context(client)

        yield connect


@pytest.fixture
def serve() -> Iterator[Callable[[Mapping[str, Answer]], str]]:
    """Serves calls from threads and gives the target: the command line has a loop of its own."""
    servers: list[grpc.Server] = []

    def start(answers: Mapping[str, Answer]) -> str:
        server = grpc.server(ThreadPoolExecutor(max_workers=4))
        server.add_generic_rpc_handlers(tuple(handlers(answers)))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def cli(serve: Callable[[Mapping[str, Answer]], str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line against some calls, beside which there is the merchant `acme` with its connection `c1`."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    acme = Connection(id="c1", merchant_id="acme")
    known: dict[str, Answer] = {
        "ConnectionService/GetConnection": lambda *_: GetConnectionResponse(connection=acme),
        "ConnectionService/ListConnections": lambda *_: ListConnectionsResponse(connections=[acme]),
    }

    def run(answers: Mapping[str, Answer], *arguments: str) -> Result:
        return CliRunner().invoke(app, ["--target", serve(known | dict(answers)), *arguments])

    return run
