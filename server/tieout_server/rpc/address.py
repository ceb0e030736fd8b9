"""Where a server listens, and whether that can be reached from another machine."""

from ipaddress import ip_address


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `host:port` or `unix:path`."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
