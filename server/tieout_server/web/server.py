"""The web server: the application on its address, until it is stopped."""

import asyncio
import functools

from aiohttp import web

from tieout_server import log
from tieout_server.errors import ListenError
from tieout_server.web.connection import BoundedConnection

logger = log.get("web")

MAX_PORT = 65_535
GRACE = 2.5
"""Seconds that requests in hand may take to end when the server stops; aiohttp waits for so long twice."""


class WebServer:
    """Serves an application; `port` is known once it has started. It keeps no access log: addresses hold secrets.

    Each connection is a BoundedConnection: bounded in time, in size and in number.

    Raises:
        ListenError: what to listen on is no `host:port`.
    """

    def __init__(self, application: web.Application, listen: str, setting: str = "TIEOUT_WEB_LISTEN") -> None:
        host, colon, port = listen.rpartition(":")
        if not (colon and port.isascii() and port.isdigit() and int(port) <= MAX_PORT):
            raise ListenError(f"{setting}: {listen!r} is not of the form host:port, such as 127.0.0.1:7441.")
        self._setting = setting
        self._host = host.strip("[]")
        self.port = int(port)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=GRACE)
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: the address is taken or not ours.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        assert self._runner.server is not None, "it is set up"
        connection = functools.partial(BoundedConnection, self._runner.server, loop=loop)
        try:
            self._listening = await loop.create_server(connection, self._host, self.port, backlog=128)
        except OSError as error:
            raise ListenError(
                f"{self._setting}: cannot listen on {self._host}:{self.port}: {error.strerror}."
            ) from error
        self.port = self._listening.sockets[0].getsockname()[1]
        logger.info("listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Stop listening and let requests in hand end."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
