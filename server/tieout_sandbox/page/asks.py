"""A form that was sent, and how to read its fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # the server makes both; only the types go round in a circle
    from collections.abc import Mapping

    from tieout_sandbox.books.books import Books
    from tieout_sandbox.organisations import Organisation, User
    from tieout_sandbox.server import Sandbox


@dataclass(frozen=True, slots=True)
class Ask:
    """A form that was sent."""

    sandbox: Sandbox
    organisation: Organisation
    form: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.form.get(name, "").strip()

    @property
    def books(self) -> Books:
        """The open organisation's books."""
        return self.organisation.books

    def amount(self, name: str) -> Decimal | None:
        """An amount, or None where the field was left empty.

        Raises:
            ValueError: it is no number.
        """
        text = self[name].replace(",", "")
        try:
            return Decimal(text) if text else None
        except InvalidOperation as error:
            raise ValueError(f"{self[name]} is not an amount.") from error

    def total(self) -> Decimal:
        """The amount that must be there.

        Raises:
            ValueError: it is missing or no number.
        """
        amount = self.amount("total")
        if amount is None:
            raise ValueError("Say how much.")
        return amount

    def name(self) -> str:
        """A name that must be there.

        Raises:
            ValueError: it is missing.
        """
        if not self["name"]:
            raise ValueError("A contact needs a name.")
        return self["name"]

    def on(self, name: str) -> date | None:
        """A date, or None where the field was left empty."""
        return date.fromisoformat(self[name]) if self[name] else None

    def contact_id(self, id_name: str, name: str) -> str:
        """A contact by its id or, failing that, by its exact name.

        Raises:
            NotFoundError: there is no such active contact.
        """
        return self[id_name] or self.books.contact_named(self[name]).id

    def user(self) -> User:
        """The user that the form is about.

        Raises:
            ValueError: there is none.
        """
        user = self.sandbox.authority.user_by_email(self["email"])
        if user is None:
            raise ValueError(f"There is no user {self['email']}.")
        return user


Action: TypeAlias = Callable[[Ask], str] | Callable[[Ask], Awaitable[str]]
