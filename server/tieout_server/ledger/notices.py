"""What a webhook says: that a document changed, and when. What it became has to be read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from tieout_server.ledger.documents import Entity


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One document of one organisation changed at this instant of the accounting system's clock."""

    xero_tenant_id: str
    entity: Entity
    xero_id: str
    kind: str
    """CREATE or UPDATE; more kinds may come."""
    at: datetime


class Deliveries(Protocol):
    """Who tells genuine deliveries of webhooks from forged ones."""

    @property
    def are_on(self) -> bool:
        """Whether there is a key to tell them by."""
        ...

    def read(self, body: bytes, signature: str) -> Sequence[Notice] | None:
        """What a delivery says, as far as it concerns us; None if it is forged. Never an error."""
        ...
