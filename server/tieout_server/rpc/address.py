"""Where a server listens, and whether that can be reached from another machine."""

from ipaddress import ip_address

MAX_PORT = 65_535
_SOCKETS = ("unix:", "unix-abstract:")


def is_address(text: str) -> bool:
    """Whether this has the form `host:port` or `unix:path`."""
    if text.startswith(_SOCKETS):
        return True
    _, colon, port = text.rpartition(":")
    return bool(colon) and port.isascii() and port.isdigit() and int(port) <= MAX_PORT


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `host:port` or `unix:path`."""
    if address.startswith(_SOCKETS):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
