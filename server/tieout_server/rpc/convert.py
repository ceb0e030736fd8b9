"""Values of every subject as messages: instants, dates, money, and words of the API's enums."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tieout.v1 import types_pb2
from tieout_server.clock import EPOCH, Clock
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.money import Money, from_units, to_units

_SECOND = timedelta(seconds=1)


def timestamp(instant: datetime | None) -> Timestamp | None:
    """The instant; None stays absent."""
    if instant is None:
        return None
    since = instant - EPOCH
    return Timestamp(seconds=since // _SECOND, nanos=since.microseconds * 1000)


def instant(request: Message, field: str) -> datetime | None:
    """The instant that a request states in this field; None where it states none."""
    if not request.HasField(field):
        return None
    stated: Timestamp = getattr(request, field)
    return stated.ToDatetime(UTC)


def iso(day: date | None) -> str:
    """The date as YYYY-MM-DD; empty where there is none."""
    return "" if day is None else day.isoformat()


def day(text: str) -> date | None:
    """The date that a request states; None where it states none."""
    return date.fromisoformat(text) if text else None


def money(value: Money) -> types_pb2.Money:
    """The amount, exact."""
    return types_pb2.Money(currency_code=value.currency, amount=f"{value.amount:f}")


def money_of(currency: str, amount: Decimal) -> types_pb2.Money:
    """The amount as all amounts are told, zero as 0.00, whatever it was computed from."""
    return money(Money(currency, from_units(to_units(amount))))


def moneys(values: Iterable[Money]) -> list[types_pb2.Money]:
    """The amounts in their order."""
    return [money(value) for value in values]


def entity(value: str) -> "types_pb2.Entity.ValueType":
    """A kind of record; ours are named as the API's, in small letters."""
    return types_pb2.Entity.Value(f"ENTITY_{value.upper()}")


def entity_of(number: "types_pb2.Entity.ValueType") -> Entity:
    """The kind of record that a request names."""
    return Entity(types_pb2.Entity.Name(number).removeprefix("ENTITY_").lower())


def heartbeat(clock: Clock) -> types_pb2.Heartbeat:
    """A sign of life, sent now."""
    return types_pb2.Heartbeat(sent_at=timestamp(clock.now()))
