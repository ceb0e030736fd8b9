"""Where the callback page may send a person on to: only where an operator allowed it, so that nobody is led astray."""

import re
from urllib.parse import SplitResult, unquote, urlsplit

from tieout_server.errors import InvalidRequestError, OperatorMustActError, Violation
from tieout_server.settings import LOOPBACK

_NEVER = re.compile(r"[\x00-\x20\x7f\\]")
"""What no URL holds; browsers drop some of it, and read a backslash as a slash (WHATWG, URL Standard, 4.4)."""


class ReturnUrlAllowError(OperatorMustActError):
    """An allowed prefix would allow more than one site: an operator corrects it."""


class ReturnUrls:
    """The URLs that are allowed: loopback, and whatever begins with an allowed prefix."""

    def __init__(self, allowed_prefixes: str) -> None:
        """Take prefixes, separated by commas.

        Raises:
            ReturnUrlAllowError: one of them names no site.
        """
        self._prefixes = tuple(p.strip() for p in allowed_prefixes.split(",") if p.strip())
        for prefix in self._prefixes:
            parts = _parts(prefix)
            if parts is None or "*" in parts.netloc:
                raise ReturnUrlAllowError(
                    f"TIEOUT_RETURN_URL_ALLOW: {prefix!r} is no prefix such as https://app.example or "
                    "https://app.example/settings; each site is named in full"
                )

    def check(self, url: str) -> None:
        """Check that this URL is empty or allowed.

        Raises:
            InvalidRequestError: it is neither.
        """
        if url and not self._is_allowed(url):
            raise InvalidRequestError(
                Violation("return_url", "must be a loopback URL or begin with a prefix in TIEOUT_RETURN_URL_ALLOW")
            )

    def _is_allowed(self, url: str) -> bool:
        parts = _parts(url)
        if parts is None or _climbs(parts.path):
            return False
        return parts.hostname in LOOPBACK or any(_covers(prefix, url) for prefix in self._prefixes)


def _parts(url: str) -> SplitResult | None:
    """The parts of an address of the web that names its host, and nobody before it; None if it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises, if it is none
    except ValueError:
        return None
    is_plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    return parts if is_plain and not _NEVER.search(url) else None


def _climbs(path: str) -> bool:
    """Whether a browser, or a server that decodes first, would leave the folder that the path seems to be in."""
    return any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(path)))


def _covers(prefix: str, url: str) -> bool:
    """Whether the URL lies under the prefix: https://a.example never covers https://a.example.evil."""
    return url == prefix or url.startswith((prefix if prefix.endswith("/") else prefix + "/", prefix + "?"))
