"""Everything that the vault seals: in which column it is, and the context that ties it to its row.

Whoever seals or opens takes the context from here, so that what is sealed in one place opens in every other.
"""

from collections.abc import Callable

import msgspec
from sqlalchemy import Column, Table

from tieout_server.storage.tables import authorisations, requests, xero_users


def access_token_of(xero_user_id: str) -> str:
    """The context in which a user's access token is sealed."""
    return f"access/{xero_user_id}"


def refresh_token_of(xero_user_id: str) -> str:
    """The context in which a user's refresh token is sealed."""
    return f"refresh/{xero_user_id}"


def code_verifier_of(state_hash: str) -> str:
    """The context in which a consent's code_verifier is sealed."""
    return f"authorisation/{state_hash}"


def answer_to(method: str, request_id: str) -> str:
    """The context in which an answer that is kept for a repeat is sealed."""
    return f"{method}/{request_id}"


class Sealed(msgspec.Struct, frozen=True):
    """One kind of secret, and the column that holds it."""

    kind: str
    """What it is, for people."""
    column: Column[bytes]
    context: Callable[..., str]
    """Of a row, by its primary key."""

    @property
    def table(self) -> Table:
        """The table of the column."""
        return self.column.table

    @property
    def key(self) -> tuple[Column[str], ...]:
        """The columns of its primary key."""
        return tuple(self.table.primary_key.columns)


SEALED = (
    Sealed("access tokens", xero_users.c.access_token, access_token_of),
    Sealed("refresh tokens", xero_users.c.refresh_token, refresh_token_of),
    Sealed("code verifiers", authorisations.c.code_verifier, code_verifier_of),
    Sealed("kept answers", requests.c.answer, answer_to),
)
"""Every column that holds what the vault has sealed."""
