"""Which calls of the API this version does not serve yet, and what they will do."""

from collections.abc import Mapping

from tieout_server.errors import NotServedYetError

COMING: Mapping[str, str] = {
    "PaymentExportService": "exporting payments to Xero",
}
"""What comes, by method or for a whole service."""

_PREFIX = "/tieout.v1."


def check(method: str) -> None:
    """Nothing, if this method is served.

    Raises:
        NotServedYetError: it comes with a later version.
    """
    if what := coming(method):
        name = method.rpartition("/")[2]
        raise NotServedYetError(f"This version does not serve {name}: {what} comes with a later one.", method=name)


def coming(method: str) -> str:
    """What this method, `/tieout.v1.Service/Method`, will do once it is served; empty if it is."""
    if not method.startswith(_PREFIX):
        return ""
    name = method.removeprefix(_PREFIX)
    return COMING.get(name) or COMING.get(name.partition("/")[0], "")
