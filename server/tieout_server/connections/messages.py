"""What callers ask of connections, and what they are answered."""

from collections.abc import Mapping, Sequence

import msgspec

from tieout_server.connections.authorisation import Consent
from tieout_server.ledger.links import Link, Observation


class Connect(msgspec.Struct, frozen=True):
    """A request to link a merchant."""

    merchant_id: str
    return_url: str = ""
    request_id: str = ""


class Choose(msgspec.Struct, frozen=True):
    """A request to settle a connection on one of the organisations offered."""

    connection_id: str
    xero_tenant_id: str
    request_id: str = ""


class Reconnect(msgspec.Struct, frozen=True):
    """A request for a new consent."""

    connection_id: str
    return_url: str = ""
    request_id: str = ""


class Disconnect(msgspec.Struct, frozen=True):
    """A request to end a connection; with `purge_data`, to erase what was read through it as well."""

    connection_id: str
    purge_data: bool = False
    request_id: str = ""


class PurgeMerchant(msgspec.Struct, frozen=True):
    """A request to erase all that is kept of a merchant; with `disconnect`, though they are connected still."""

    merchant_id: str
    disconnect: bool = False
    request_id: str = ""


class Purged(msgspec.Struct, frozen=True):
    """Whose data is being erased, and how many rows of each kind that was when it began."""

    connection_ids: tuple[str, ...]
    rows: Mapping[str, int]


class Return(msgspec.Struct, frozen=True):
    """What Xero appended to the redirect address when it sent a person back."""

    state: str
    code: str = ""
    error: str = ""
    request_id: str = ""

    def __repr__(self) -> str:
        """Neither state nor code: both are secrets."""
        return f"Return(error={self.error!r}, request_id={self.request_id!r})"


class Started(msgspec.Struct, frozen=True):
    """A connection that waits for consent, and the way to it."""

    link: Link
    consent: Consent


class Begun(msgspec.Struct, frozen=True):
    """What is kept of the answer `Started`: the connection, which may name a person, is read anew for a repeat."""

    connection_id: str
    consent: Consent


class Settled(msgspec.Struct, frozen=True):
    """What is kept of an answer that is a connection: it is read anew for a repeat."""

    connection_id: str
    return_url: str = ""


class Completed(msgspec.Struct, frozen=True):
    """A connection after its consent, and where the person wants to go next."""

    link: Link
    return_url: str


class Checked(msgspec.Struct, frozen=True):
    """A connection in the state that a look at it proved, and what was observed, in that order."""

    link: Link
    evidence: tuple[Observation, ...]
    is_open: bool = False
    """Whether something stood in the way of a proof, so that it is looked at again soon."""


class Snapshot(msgspec.Struct, frozen=True):
    """Connections as they stood when the log of events ended at this position."""

    position: int
    links: Sequence[Link]
