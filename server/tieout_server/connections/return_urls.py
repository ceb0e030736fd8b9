"""Where the callback page may send a person on to: only where an operator allowed it, so that nobody is led astray."""

from urllib.parse import unquote, urlsplit

from tieout_server.errors import InvalidRequestError, Violation

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ReturnUrls:
    """The URLs that are allowed: loopback, and whatever begins with an allowed prefix."""

    def __init__(self, allowed_prefixes: str) -> None:
        self._prefixes = tuple(p.strip() for p in allowed_prefixes.split(",") if p.strip())

    def check(self, url: str) -> None:
        """Nothing, if this URL is empty or allowed.

        Raises:
            InvalidRequestError: it is neither.
        """
        if url and not self._is_allowed(url):
            raise InvalidRequestError(
                Violation("return_url", "must be a loopback URL or begin with a prefix in TIEOUT_RETURN_URL_ALLOW")
            )

    def _is_allowed(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or "\\" in url:
            return False
        if any(unquote(segment) in (".", "..") for segment in parts.path.split("/")):  # a browser takes them away
            return False
        return host in _LOOPBACK or any(_covers(prefix, url) for prefix in self._prefixes)


def _covers(prefix: str, url: str) -> bool:
    """Whether the URL lies under the prefix: https://a.example never covers https://a.example.evil."""
    return url == prefix or url.startswith((prefix if prefix.endswith("/") else prefix + "/", prefix + "?"))
