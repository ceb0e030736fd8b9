"""The web server: the application on its address, until it is stopped."""

from aiohttp import web

from tieout_server import log
from tieout_server.errors import ListenError

logger = log.get("web")

MAX_PORT = 65_535
GRACE = 10.0
"""Seconds that requests in hand may take to end when the server stops."""


class WebServer:
    """Serves an application; `port` is known once it has started. It keeps no access log: addresses hold secrets.

    Raises:
        ListenError: what to listen on is no `host:port`.
    """

    def __init__(self, application: web.Application, listen: str) -> None:
        host, colon, port = listen.rpartition(":")
        if not (colon and port.isascii() and port.isdigit() and int(port) <= MAX_PORT):
            raise ListenError(f"TIEOUT_WEB_LISTEN: {listen!r} is not of the form host:port, such as 127.0.0.1:7441.")
        self._host = host.strip("[]")
        self.port = int(port)
        # Bodies as they were sent: Xero signs those bytes, and what cannot be unpacked would be a fault of ours.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=GRACE, auto_decompress=False)

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: the address is taken or not ours.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            raise ListenError(
                f"TIEOUT_WEB_LISTEN: cannot listen on {self._host}:{self.port}: {error.strerror}."
            ) from error
        self.port = self._runner.addresses[0][1]
        logger.info("listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Stop listening and let requests in hand end."""
        await self._runner.cleanup()
