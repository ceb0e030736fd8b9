"""The gRPC server: the five services, health and reflection, behind TLS and a door that knows callers."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tieout.v1 import (
    connection_service_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout.v1.connection_service_pb2_grpc import add_ConnectionServiceServicer_to_server
from tieout.v1.payment_export_service_pb2_grpc import add_PaymentExportServiceServicer_to_server
from tieout.v1.receivables_service_pb2_grpc import add_ReceivablesServiceServicer_to_server
from tieout.v1.reconciliation_service_pb2_grpc import add_ReconciliationServiceServicer_to_server
from tieout.v1.sync_service_pb2_grpc import add_SyncServiceServicer_to_server
from tieout_server import log
from tieout_server.callers.service import Callers
from tieout_server.clock import Clock
from tieout_server.connections.service import Connections
from tieout_server.errors import ListenError
from tieout_server.events.feed import Feed
from tieout_server.receivables.changes import Changes
from tieout_server.receivables.service import Receivables
from tieout_server.retention import Prunings
from tieout_server.rpc import observed
from tieout_server.rpc.access import NEEDS
from tieout_server.rpc.address import is_address, is_loopback
from tieout_server.rpc.callers import Door
from tieout_server.rpc.connections import ConnectionServicer, ConnectionSubjects
from tieout_server.rpc.exports import ExportSubjects, PaymentExportServicer
from tieout_server.rpc.in_hand import InHand
from tieout_server.rpc.interceptors import Surround
from tieout_server.rpc.receivables import ReceivablesServicer
from tieout_server.rpc.reconciliations import ReconciliationServicer, ReconciliationSubjects
from tieout_server.rpc.reflection import add_reflection
from tieout_server.rpc.syncs import SyncServicer
from tieout_server.settings import Settings
from tieout_server.syncs.erasures import Erasures
from tieout_server.syncs.explain import Explanations
from tieout_server.syncs.freshness import FreshnessOf
from tieout_server.syncs.service import Syncs
from tieout_server.syncs.watch import SyncWatch

logger = log.get("rpc")

GRACE = 0.5
"""Seconds that a server that was not drained leaves to the calls in hand when it stops."""

SERVICES = tuple(
    str(file.DESCRIPTOR.services_by_name[name].full_name)
    for file, name in (
        (connection_service_pb2, "ConnectionService"),
        (sync_service_pb2, "SyncService"),
        (receivables_service_pb2, "ReceivablesService"),
        (reconciliation_service_pb2, "ReconciliationService"),
        (payment_export_service_pb2, "PaymentExportService"),
    )
)

OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake, not a partner
    # Watchers all come back at once after a restart; beyond 1,000 waiting calls grpc would turn them away.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # A peer that vanished is noticed after 40 s; keepalive_timeout_ms alone does nothing (grpc/grpc#39239).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 4 << 20),
)


@dataclass(frozen=True)
class Subjects:
    """What the services are answered from."""

    callers: Callers
    connections: Connections
    syncs: Syncs
    sync_watch: SyncWatch
    freshness: FreshnessOf
    receivables: Receivables
    changes: Changes
    explanations: Explanations
    reconciliation: ReconciliationSubjects
    exports: ExportSubjects
    prunings: Prunings
    erasures: Erasures
    feed: Feed
    clock: Clock


class RpcServer:
    """The server; `port` is known once it has started."""

    def __init__(self, subjects: Subjects, settings: Settings) -> None:
        self._feed = subjects.feed
        self._settings = settings
        self._door = Door(subjects.callers, settings, only_here=is_loopback(settings.listen))
        self._health = health.aio.HealthServicer()
        self._in_hand = InHand()
        self._server = aio.server(
            interceptors=(Surround(self._door, subjects.clock, self._in_hand),),
            options=(*OPTIONS, ("grpc.enable_channelz", int(settings.channelz))),
        )
        self.port = 0
        _add_services(self._server, subjects, settings)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        channelz_too = [channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name] if settings.channelz else []
        if settings.channelz:
            channelz.add_channelz_servicer(self._server)
        add_reflection(self._server, (*SERVICES, health.SERVICE_NAME, *channelz_too))

    async def start(self) -> None:
        """Listen, and say SERVING of every service.

        Raises:
            ListenError: the address is none, is taken, or is open to others without a token, or the TLS files cannot
                be read.
        """
        address = self._settings.listen
        if not is_address(address):
            raise ListenError(f"TIEOUT_LISTEN: {address!r} is not of the form host:port, such as 127.0.0.1:7440.")
        await self._check_guarded()
        credentials = _credentials(self._settings)
        try:
            self.port = (
                self._server.add_secure_port(address, credentials)
                if credentials
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise ListenError(f"TIEOUT_LISTEN: cannot listen on {address}; is the port taken?") from error
        observed.expect(NEEDS)
        await self._server.start()
        await self.say_whether_it_serves(True)
        logger.info("listening", address=address, port=self.port, tls=credentials is not None)

    async def say_whether_it_serves(self, serves: bool) -> None:  # noqa: FBT001 - what it says
        """Say so of the server and of every service to whoever asks for health; a server that stops serves nothing."""
        status = health_pb2.HealthCheckResponse
        for service in ("", *SERVICES):
            await self._health.set(service, status.SERVING if serves else status.NOT_SERVING)

    async def announce_end(self) -> None:
        """Say NOT_SERVING of every service, and of all; calls are served as before."""
        await self._health.enter_graceful_shutdown()

    async def drain(self, by: float) -> None:
        """Send callers and watchers elsewhere; calls in hand end until this time of the loop, or are broken off."""
        self._feed.drain()
        await self._in_hand.drain(by)

    async def stop(self) -> None:
        """Stop serving. What is in hand is broken off soon, unless it was drained before."""
        await self.announce_end()
        await self.drain(asyncio.get_running_loop().time() + GRACE)
        await self._server.stop(GRACE)

    async def _check_guarded(self) -> None:
        """Check that callers from other machines have to say who they are, or are let in on purpose."""
        address, settings = self._settings.listen, self._settings
        if is_loopback(address):
            return
        authentication = self._door.authentication
        if await authentication.lets_anybody():
            logger.warning("everybody may do everything: TIEOUT_ALLOW_ANONYMOUS is set", address=address)
        elif not authentication.is_configured and await self._door.callers.directory.is_empty():
            raise ListenError(
                f"TIEOUT_LISTEN: {address} can be reached from other machines, and nothing tells callers apart. "
                "Register one by `tieout-server callers add`, or set TIEOUT_TOKEN, TIEOUT_JWT_ISSUER or "
                "TIEOUT_TLS_CLIENT_CA_FILE, or listen on 127.0.0.1; TIEOUT_ALLOW_ANONYMOUS=true lets everybody in."
            )
        if not settings.tls_cert_file:
            logger.warning("token and data travel in the clear: set TIEOUT_TLS_CERT_FILE", address=address)


def _add_services(server: aio.Server, subjects: Subjects, settings: Settings) -> None:
    """Have each service answered."""
    clock = subjects.clock
    of_connections = ConnectionSubjects(
        subjects.connections, subjects.callers.audit, subjects.prunings, subjects.erasures
    )
    connections: Any = ConnectionServicer(of_connections, subjects.feed, clock, settings.xero_scopes.split())
    syncs: Any = SyncServicer(subjects.syncs, subjects.sync_watch, subjects.freshness, subjects.explanations, clock)
    receivables: Any = ReceivablesServicer(subjects.receivables, subjects.changes, clock)
    reconciliations: Any = ReconciliationServicer(subjects.reconciliation, subjects.receivables, clock)
    exports: Any = PaymentExportServicer(subjects.exports, clock)
    add_ConnectionServiceServicer_to_server(connections, server)
    add_SyncServiceServicer_to_server(syncs, server)
    add_ReceivablesServiceServicer_to_server(receivables, server)
    add_ReconciliationServiceServicer_to_server(reconciliations, server)
    add_PaymentExportServiceServicer_to_server(exports, server)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What TLS needs; None without a certificate."""
    certificate, key, callers = settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
    if not certificate and not key and not callers:
        return None
    if not certificate or not key:
        raise ListenError("TLS needs both TIEOUT_TLS_CERT_FILE and TIEOUT_TLS_KEY_FILE.")
    return grpc.ssl_server_credentials(
        [(_read(key), _read(certificate))],
        _read(callers) if callers else None,
        require_client_auth=callers is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ListenError(f"{path} cannot be read: {error.strerror}.") from error
