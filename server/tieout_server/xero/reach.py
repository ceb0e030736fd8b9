"""Whether a host of Xero can be reached, and what its clock says."""

import socket
import time
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec

from tieout_server.errors import XeroUnavailableError


class Reached(msgspec.Struct, frozen=True):
    """What a host answered: its status, its clock (to the second) if it told, and how long it took."""

    status: int
    at: datetime | None
    seconds: float


async def reach(session: aiohttp.ClientSession, url: str) -> Reached:
    """Ask for this without credentials; whatever the status, it answered.

    Raises:
        XeroUnavailableError: it did not; the sentence says at which step.
    """
    began = time.monotonic()
    try:
        async with session.get(url, allow_redirects=False) as answer:
            return Reached(answer.status, _date(answer.headers.get("Date", "")), time.monotonic() - began)
    except aiohttp.ClientConnectorDNSError as error:
        raise XeroUnavailableError("Its name does not resolve.") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
        raise XeroUnavailableError("Its TLS certificate is not accepted here.") from error
    except TimeoutError as error:
        raise XeroUnavailableError("It did not answer in time.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError | socket.gaierror) else type(error).__name__
        raise XeroUnavailableError(f"It cannot be reached: {why}.") from error


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None
