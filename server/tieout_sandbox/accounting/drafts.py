"""One posted element while it is being judged: its values in their types, and everything that is wrong with it."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from tieout_sandbox.accounting.bodies import Element, PostDataError
from tieout_sandbox.accounting.wire import plain_day, pretty

_NO_ID = "00000000-0000-0000-0000-000000000000"
_MS_DATE = re.compile(r"/Date\((-?\d+)([+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENT = Decimal("0.01")
_DATES = ("Date", "DueDate", "ExpectedPaymentDate", "PlannedPaymentDate")


class InvalidError(Exception):
    """The element cannot be taken; its draft says why."""


@dataclass(slots=True)
class Draft:
    """What was sent for one element, with the faults that were found in it so far.

    Reading a value of the wrong type raises PostDataError: Xero then refuses the whole body (waynerobinson/xeroizer
    #159 for an id that is none).
    """

    given: Element
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def has(self, key: str) -> bool:
        """Whether there is something under this name; empty objects and lists count as nothing."""
        return self.given.get(key) not in (None, {}, [])

    def refuse(self, message: str) -> None:
        """Note one fault."""
        if message not in self.errors:
            self.errors.append(message)

    def judge(self) -> None:
        """Let a faultless draft pass.

        Raises:
            InvalidError: there are faults.
        """
        if self.errors:
            raise InvalidError

    def text(self, key: str, longest: int = 255) -> str | None:
        """A text, None where nothing is said."""
        value = self.given.get(key)
        if value is None or isinstance(value, dict | list):
            return None
        text = str(value)
        if len(text) > longest:
            self.refuse(f"{key} must not be longer than {longest} characters.")
        return text

    def id(self, key: str) -> str | None:
        """A document's id as the books spell it, None where nothing is said."""
        value = self.text(key)
        try:
            return None if value is None else str(UUID(value))
        except ValueError:
            raise PostDataError("Unrecognized Guid format.") from None

    def number(self, key: str) -> Decimal | None:
        """A number, which clients also send as text."""
        value = self.given.get(key)
        if value in (None, ""):
            return None
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise PostDataError(f"{key} is not a number: {value!r}") from None
        if not number.is_finite() or abs(number) >= Decimal(10) ** 12:
            raise PostDataError(f"{key} is out of range: {value!r}")
        return number

    def money(self, key: str) -> Decimal | None:
        """An amount in whole cents; fractions are rounded, as Xero does with its two places."""
        number = self.number(key)
        return None if number is None else number.quantize(_CENT)

    def flag(self, key: str) -> bool | None:
        """A boolean, which XML sends as text."""
        value = self.given.get(key)
        return None if value is None else str(value).lower() == "true"

    def day(self, key: str) -> date | None:
        """A date: ISO with or without a time, or Microsoft's spelling."""
        value = self.given.get(key)
        return None if value in (None, "") else _day(key, str(value))

    def part(self, key: str) -> "Draft":
        """An object inside; its faults are the element's own."""
        value = self.given.get(key)
        if isinstance(value, list):  # some clients wrap a single object
            value = value[0] if value else {}
        return Draft(value if isinstance(value, dict) else {}, self.errors, self.warnings)

    def parts(self, key: str) -> "list[Draft]":
        """The objects of a list inside."""
        value = self.given.get(key)
        found = value if isinstance(value, list) else [value] if isinstance(value, dict) and value else []
        return [Draft(item, self.errors, self.warnings) for item in found if isinstance(item, dict)]

    def echo(self, key: str, flag: str, **extra: object) -> str:
        """The element given back with its faults, dates as Xero writes them.

        Args:
            key: the name of the element's id, which is all zeros where none was given.
            flag: HasErrors for sales documents, HasValidationErrors for the others.
            extra: further members.
        """
        block: dict[str, Any] = {key: self.given.get(key, _NO_ID)} if key else {}
        block |= self.given
        for name in _DATES:
            if isinstance(block.get(name), str) and block[name]:
                block[name] = plain_day(_day(name, block[name]))
        block |= {flag: bool(self.errors)} if flag else {}
        errors = [{"Message": message} for message in self.errors]
        return pretty(block | extra | {"ValidationErrors": errors})


def _day(key: str, value: str) -> date:
    match = _MS_DATE.fullmatch(value)
    try:
        if match:
            return (_EPOCH + timedelta(milliseconds=int(match.group(1)))).date()
        return datetime.fromisoformat(value).date()
    except (ValueError, OverflowError):
        raise PostDataError(f"{key} is not a date: {value!r}") from None
