"""`Client`: one typed method for every call of the API, over one channel."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc import aio

from tieout.calls import Calls
from tieout.connections import Connections
from tieout.payment_exports import PaymentExports
from tieout.receivables import Receivables
from tieout.reconciliations import Reconciliations
from tieout.syncs import Syncs
from tieout.v1 import (
    connection_service_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout.watch import Patience

TARGET = "127.0.0.1:7440"
"""Where a server listens unless it is told otherwise."""

LARGEST_ANSWER = 64 << 20
"""Bytes that an answer may have: a page of 1,000 exports of many lines, or of credits, exceeds gRPC's 4 MiB."""

_APIS = (
    connection_service_pb2,
    sync_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    payment_export_service_pb2,
)
# Calls that change nothing are repeated by the channel when the way to the server fails; what changes something is the
# caller's to repeat, with its request_id.
_REPEATABLE = ("Get", "List")
_ASKS_XERO = ("ListExportAccounts",)
"""Reads whose repeat would cost the merchant calls to Xero, which the service itself has repeated often enough."""


@dataclass(frozen=True)
class Tls:
    """How the channel is encrypted. Without files: by the certificate authorities that gRPC brings along."""

    ca_file: Path | None = None
    """PEM certificates that the server's certificate must come from."""
    cert_file: Path | None = None
    """PEM certificate by which the caller shows itself (mTLS); needs `key_file`."""
    key_file: Path | None = None
    """PEM private key of `cert_file`."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            OSError: a file cannot be read.
            ValueError: only one of certificate and key is given.
        """
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("mTLS needs both a certificate and its private key")
        files = (self.ca_file, self.key_file, self.cert_file)
        return grpc.ssl_channel_credentials(*(file.read_bytes() if file else None for file in files))


class Client:
    """The API, grouped as its services are; use it as `async with tieout.Client(...) as client`.

    It is made inside a running event loop, serves any number of tasks of that loop, and connects when it is first used.
    Every method raises `TieoutError` and nothing of gRPC's; cancelling the task ends the call. Without `tls` everything
    travels in the clear, the token too: that is for this machine, or a network that encrypts by itself.

    A `token` that expires, as a JWT does, is given as a function that answers the one of now. It is asked at each call,
    so it must not wait; and a watch whose token has expired goes on with the next one.

    Raises:
        OSError, ValueError: a TLS file cannot be used, or the target is a web address.
    """

    def __init__(
        self,
        target: str = TARGET,
        *,
        tls: Tls | None = None,
        token: str | Callable[[], str] = "",
        timeout: timedelta = timedelta(seconds=30),
        patience: Patience | None = None,
    ) -> None:
        self.target = target
        self._channel = _open(target, tls)
        calls = Calls(token if callable(token) else lambda: token, timeout, patience or Patience())
        self.connections = Connections(self._channel, calls)
        self.syncs = Syncs(self._channel, calls)
        self.receivables = Receivables(self._channel, calls)
        self.reconciliations = Reconciliations(self._channel, calls)
        self.payment_exports = PaymentExports(self._channel, calls)

    async def close(self) -> None:
        """End all calls that are under way and the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _open(target: str, tls: Tls | None) -> aio.Channel:
    scheme, is_web, rest = target.partition("://")
    if is_web and scheme in {"http", "https"}:
        raise ValueError(f"the target is host:port, without {scheme}://: {rest.rstrip('/')}")
    options = [
        ("grpc.service_config", json.dumps({"methodConfig": [_retries()]})),
        # A dead peer is noticed only with both of these (grpc/grpc#39239); the server allows a ping every 10 seconds.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        # A server that comes back is found within seconds, not within gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.max_receive_message_length", LARGEST_ANSWER),
    ]
    if tls:
        return aio.secure_channel(target, tls.credentials(), options)
    return aio.insecure_channel(target, options)


def _retries() -> dict[str, object]:
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"name": _repeatable_calls(), "retryPolicy": policy}


def _repeatable_calls() -> Sequence[dict[str, str]]:
    return [
        {"service": service.full_name, "method": method.name}
        for api in _APIS
        for service in api.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.name.startswith(_REPEATABLE) and method.name not in _ASKS_XERO
    ]
