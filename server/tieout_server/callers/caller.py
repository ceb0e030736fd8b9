"""A caller: by what name it goes, which roles it has, and which merchants it may see."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a caller may do. The other two include READER."""

    READER = "reader"
    """Reads and watches; asks Xero where a read does."""
    OPERATOR = "operator"
    """Connects, disconnects, syncs, reconciles, chooses accounts, reads the audit log."""
    EXPORTER = "exporter"
    """Sends payments to Xero, again, takes them back, dismisses them."""


ALL_MERCHANTS = "all"
"""Among the roles of a JWT: whoever bears it may see every merchant, unless it names some."""


class Caller(msgspec.Struct, frozen=True):
    """Whoever makes a call, once it is known."""

    name: str
    authenticated_by: str
    """`key`, `jwt`, `certificate`, `token`, or `nothing`."""
    roles: frozenset[Role]
    merchants: frozenset[str] | None = None
    """The only merchants that exist for it; None: all."""

    def has(self, role: Role) -> bool:
        """Whether it may do what takes this role."""
        return role in self.roles or (role is Role.READER and bool(self.roles))

    def sees(self, merchant_id: str) -> bool:
        """Whether this merchant exists for it."""
        return self.merchants is None or merchant_id in self.merchants


EVERYTHING = frozenset(Role)
LOCAL = Caller("local", "nothing", EVERYTHING)
"""Whoever calls where nobody has to say who they are."""
STATIC = Caller("token", "token", EVERYTHING)
"""Whoever shows TIEOUT_TOKEN."""
RESERVED = frozenset({LOCAL.name, STATIC.name})
"""Names that no registered caller may have; those of a JWT begin with `jwt:`."""
