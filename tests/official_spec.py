"""Xero's official OpenAPI file as a judge of requests and responses, with what it gets wrong mended on load.

It is OpenAPI 3.0 with few keywords, so the judge is small: type, format, enum, maxLength, required, no unknown keys.
The file itself is not part of the project.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from wire_recorder import Exchange

_MS_DATE = re.compile(r"/Date\(-?\d+[+-]\d{4}\)/")
_MS_DATE_WITHOUT_OFFSET = re.compile(r"/Date\(-?\d+\)/")
_PLAIN_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TWIN_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T00:00:00")

ENVELOPE = frozenset({"Id", "Status", "ProviderName", "DateTimeUTC"})
"""Around every collection; the file leaves it out."""
MORE_KEYS: Mapping[str, frozenset[str]] = {
    "Invoice": frozenset({"DateString", "DueDateString"}),
    "CreditNote": frozenset({"ID", "DateString", "DueDateString", "Attachments"}),
    "Overpayment": frozenset({"ID", "DateString"}),
    "Prepayment": frozenset({"ID", "DateString"}),
    "BankTransaction": frozenset({"DateString", "Attachments", "BatchPayment"}),
    "LineItem": frozenset({"ValidationErrors", "DiscountEnteredAsPercent"}),
    "ContactGroup": frozenset({"HasValidationErrors"}),
    "HistoryRecord": frozenset({"DateUTCString", "ValidationErrors"}),
}
"""The keys that Xero really sends beyond the file's schemas: they stand in the file's own examples."""
STRINGS = frozenset({"BatchPayment.TotalAmount", "BatchPayment.IsReconciled"})
"""What Xero writes as a string inside a payment, though the file says number and boolean; so do its examples."""
_CREDIT = (
    "ID Type RemainingCredit Allocations Contact DateString Date Status LineAmountTypes LineItems SubTotal TotalTax "
    "Total UpdatedDateUTC UpdatedDateUTCString CurrencyCode CurrencyRate"
)
REQUIRED: Mapping[str, str] = {
    "Invoices": "Type InvoiceID InvoiceNumber AmountDue AmountPaid AmountCredited CurrencyRate HasErrors Contact "
    "DateString Date DueDateString DueDate Status LineAmountTypes SubTotal TotalTax Total UpdatedDateUTC "
    "UpdatedDateUTCString CurrencyCode",
    "CreditNotes": f"CreditNoteID CreditNoteNumber {_CREDIT}",
    "Overpayments": f"OverpaymentID {_CREDIT}",
    "Prepayments": f"PrepaymentID {_CREDIT}",
    "Payments": "PaymentID Date BankAmount Amount CurrencyRate PaymentType Status UpdatedDateUTC UpdatedDateUTCString "
    "HasAccount IsReconciled Account Invoice HasValidationErrors",
    "Contacts": "ContactID ContactStatus Name UpdatedDateUTC HasValidationErrors",
    "Accounts": "AccountID Name Status Type TaxType Class EnablePaymentsToAccount BankAccountType UpdatedDateUTC",
    "Users": "UserID EmailAddress FirstName LastName UpdatedDateUTC IsSubscriber",
    "Currencies": "Code Description",
    "Organisations": "OrganisationID Name BaseCurrency CountryCode OrganisationStatus CreatedDateUTC Timezone",
    "Actions": "Name Status",
    "BankTransactions": "BankTransactionID Type BankAccount Contact Date DateString Status Total UpdatedDateUTC",
    "BatchPayments": "BatchPaymentID Account Date DateString Type Status TotalAmount UpdatedDateUTC",
}
"""What every element of a collection has when it is read, in lists and alone; the file demands next to nothing."""
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, Decimal),
    "integer": int,
}
_EITHER_WAY = ("].DateUTC", ".Reports[0].UpdatedDateUTC")
"""Dates that have an offset in some of the file's examples and none in others."""
_DELETED_ALLOCATION = frozenset({"AllocationId", "Date", "Invoice", "IsDeleted"})
_VERBS = frozenset({"get", "put", "post", "delete"})


class _Loader(yaml.CSafeLoader):
    """Leaves dates as the text that they are on the wire."""


_Loader.yaml_implicit_resolvers = {
    first: [found for found in resolvers if found[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(slots=True)
class Spec:
    """The file, and judgements by it: each is a list of complaints, empty when there is nothing to complain of."""

    document: dict[str, Any]
    mended_defaults: int = 0
    mended_examples: int = 0
    operations: list[tuple[list[str], str, dict[str, Any]]] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> "Spec":
        """Read `xero_accounting.yaml`."""
        text = (folder / "xero_accounting.yaml").read_text(encoding="utf-8")
        spec = cls(yaml.load(text, Loader=_Loader))  # noqa: S506 it is a SafeLoader
        spec._mend(spec.document)
        for path, methods in spec.document["paths"].items():
            segments = path.strip("/").split("/")
            for method, operation in methods.items():
                if method in _VERBS:
                    shared = methods.get("parameters", [])
                    operation["parameters"] = [*shared, *operation.get("parameters", [])]
                    spec.operations.append((segments, method, operation))
        return spec

    def schema(self, name: str) -> dict[str, Any]:
        """A schema by its name."""
        found: dict[str, Any] = self.document["components"]["schemas"][name]
        return found

    # Requests

    def request_complaints(self, exchange: Exchange) -> list[str]:
        """What is wrong with a request: unknown path or parameter, a bad header, a bad body."""
        path = exchange.path
        if path is None:
            return []
        operation = self._operation(exchange.method, path)
        if operation is None:
            return [f"{exchange.method} {path} is not in the file"]
        parameters = [self._resolved(parameter) for parameter in operation["parameters"]]
        known = {parameter["name"]: parameter for parameter in parameters if parameter["in"] == "query"}
        complaints = []
        for name, value in exchange.query.items():
            if name not in known:
                complaints.append(f"{path}: the parameter {name} is not in the file")
            else:
                complaints += [f"{path}?{name}: {text}" for text in self._parameter(value, known[name]["schema"])]
        complaints += [f"{path}: {text}" for text in _header_complaints(exchange.headers)]
        body = operation.get("requestBody")
        if exchange.sent:
            given = json.loads(exchange.sent, parse_float=Decimal)
            schema = self._resolved(body)["content"]["application/json"]["schema"] if body else {}
            complaints += [f"{path} body{text}" for text in self._value(given, schema, "", written=True)]
        return complaints

    def _parameter(self, value: str, schema: dict[str, Any]) -> Iterator[str]:
        kind = schema["type"]
        if kind == "integer" and not value.isdigit():
            yield f"{value} is no integer"
        if kind == "boolean" and value not in {"true", "false"}:
            yield f"{value} is no boolean"
        if kind == "array":
            for part in value.split(","):
                yield from self._value(part, schema["items"], "")
        if kind == "string":
            yield from self._value(value, schema, "")

    # Responses

    def response_complaints(self, exchange: Exchange) -> list[str]:
        """What is wrong with a response: its type, its body, a date, a key that is missing or unknown."""
        path = exchange.path
        if path is None:
            return []
        operation = self._operation(exchange.method, path)
        if operation is None:
            return [] if exchange.status == 404 else [f"{path} answers {exchange.status}, but is not in the file"]
        if exchange.status == 400:
            found = self._error(exchange, operation)
        elif exchange.status in {401, 403}:
            found = _problem_complaints(exchange)
        elif exchange.status == 200:
            found = list(self._ok(exchange, operation))
        else:
            plain = exchange.content_type in {"text/plain", "application/octet-stream"}
            found = [] if plain else [f"{exchange.content_type} with {exchange.status}"]
        return [f"{exchange.method} {path} {exchange.status}: {text}" for text in found]

    def _ok(self, exchange: Exchange, operation: dict[str, Any]) -> Iterator[str]:
        given = exchange.answered()
        if exchange.content_type != "application/json":
            yield f"the type is {exchange.content_type}"
        if given.keys() == _DELETED_ALLOCATION:  # as in the file's examples, before they are mended
            given = _righted(given)
        content = operation["responses"]["200"]
        schema = self._resolved(self._resolved(content)["content"]["application/json"]["schema"])
        if given.keys() >= ENVELOPE:
            if not _MS_DATE_WITHOUT_OFFSET.fullmatch(given["DateTimeUTC"]):
                yield f"DateTimeUTC is {given['DateTimeUTC']}"
            given = {key: value for key, value in given.items() if key not in ENVELOPE}
        elif exchange.method == "GET":
            yield "there is no envelope"
        yield from self._value(given, schema, "")
        for name, elements in given.items() if exchange.method == "GET" else ():
            for element in elements if name in REQUIRED else ():
                yield from (f".{name}: {key} is missing" for key in REQUIRED[name].split() if key not in element)

    def _error(self, exchange: Exchange, operation: dict[str, Any]) -> list[str]:
        """A 400: the Error schema, whose elements may repeat all that was sent."""
        given = exchange.answered()
        elements = given.pop("Elements", [])
        complaints = list(self._value(given, self.schema("Error"), ""))
        complaints += [f"{key} is missing" for key in ("ErrorNumber", "Type", "Message") if key not in given]
        content = self._resolved(operation["responses"]["200"])["content"]["application/json"]["schema"]
        echoed = self._element_schema(self._resolved(content))
        own = self.schema("Element")["properties"]
        both = {"type": "object", "properties": {**echoed.get("properties", {}), **own}, "x-name": echoed.get("x-name")}
        for element in elements:
            complaints += self._value(element, both, ".Elements")
        return complaints

    def _element_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What an envelope's collection consists of."""
        for name, member in schema.get("properties", {}).items():
            if member.get("type") == "array" and name != "Warnings":
                return self._resolved(member["items"])
        return schema

    # Values

    def _value(
        self,
        value: Any,  # noqa: ANN401 any JSON value
        schema: dict[str, Any],
        where: str,
        *,
        written: bool = False,
    ) -> Iterator[str]:
        schema = self._resolved(schema)
        kind = schema.get("type", "object" if "properties" in schema else None)
        if kind is not None and not _is_of(value, kind):
            if where.endswith(tuple(STRINGS)) and isinstance(value, str) and not written:
                return
            yield f"{where} is {value!r}, not of the type {kind}"
            return
        if isinstance(value, dict):
            yield from self._members(value, schema, where, written=written)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._value(item, schema.get("items", {}), f"{where}[{index}]", written=written)
        elif isinstance(value, str):
            yield from _text_complaints(value, schema, where, written=written)

    def _members(self, value: dict[str, Any], schema: dict[str, Any], where: str, *, written: bool) -> Iterator[str]:
        members = schema.get("properties", {})
        for name in schema.get("required", []):
            if name not in value:
                yield f"{where}.{name} is missing"
        extra = MORE_KEYS.get(schema.get("x-name", ""), frozenset())
        for name, item in value.items():
            if name in members:
                if item is None:
                    yield f"{where}.{name} is null"
                    continue
                yield from self._value(item, members[name], f"{where}.{name}", written=written)
            elif name not in extra or written:
                yield f"{where}.{name} is not in the file"
            elif name.endswith("DateString") and not _TWIN_DATE.fullmatch(str(item)):
                yield f"{where}.{name} is {item}"

    # The file

    def examples(self) -> Iterator[tuple[str, list[str]]]:
        """The file's own examples of what is answered, and what is wrong with each."""
        for segments, method, operation in self.operations:
            answer = (
                self._resolved(operation["responses"].get("200", {})).get("content", {}).get("application/json", {})
            )
            if isinstance(answer.get("example"), dict):
                given = {key: value for key, value in answer["example"].items() if key not in ENVELOPE}
                given = json.loads(json.dumps(given), parse_float=Decimal)
                yield f"{method.upper()} /{'/'.join(segments)}", list(self._value(given, answer["schema"], ""))

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation for a path, whatever the case of its letters; a literal segment goes before a variable."""
        wanted = path.strip("/").lower().split("/")
        found = [
            (sum(part.startswith("{") for part in segments), index)
            for index, (segments, verb, _) in enumerate(self.operations)
            if verb == method.lower()
            and len(segments) == len(wanted)
            and all(part.startswith("{") or part.lower() == given for part, given in zip(segments, wanted, strict=True))
        ]
        return self.operations[min(found)[1]][2] if found else None

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in value:
            name = value["$ref"].rsplit("/", 1)[-1]
            found: Any = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = {**found, "x-name": name} if "/schemas/" in value["$ref"] else found
        return value

    def _mend(self, value: Any) -> None:  # noqa: ANN401 any part of the file
        """Turn the 23 `default: "false"` of booleans into false, and right the three allocations that are deleted.

        There, the examples show an AllocationId, an invoice as an array, a date without offset and no amount.
        """
        if isinstance(value, list):
            for item in value:
                self._mend(item)
        if not isinstance(value, dict):
            return
        if value.get("type") == "boolean":
            for key in ("default", "example"):
                if value.get(key) in {"true", "false"}:
                    self.mended_defaults += key == "default"
                    value[key] = value[key] == "true"
        if value.keys() >= _DELETED_ALLOCATION:
            self.mended_examples += 1
            value |= _righted(value)
            del value["AllocationId"]
        for item in value.values():
            self._mend(item)


def _righted(deleted: dict[str, Any]) -> dict[str, Any]:
    """A deleted allocation as the schema has it."""
    (invoice,) = deleted["Invoice"]
    on = deleted["Date"] if "+" in deleted["Date"] else deleted["Date"].replace(")/", "+0000)/")
    return {"AllocationID": deleted["AllocationId"], "Invoice": invoice, "Date": on, "Amount": 1, "IsDeleted": True}


def _is_of(value: object, kind: str) -> bool:
    """JSON knows true and false from numbers, Python does not."""
    return isinstance(value, _TYPES[kind]) and (kind == "boolean") == isinstance(value, bool)


def _text_complaints(value: str, schema: dict[str, Any], where: str, *, written: bool) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, which is none of its values"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{where} is longer than {schema['maxLength']}"
    if schema.get("format") == "uuid":
        try:
            uuid.UUID(value)
        except ValueError:
            yield f"{where} is {value!r}, which is no UUID"
    is_date = schema.get("x-is-msdate") or schema.get("x-is-msdate-time")
    if is_date and not any(pattern.fullmatch(value) for pattern in _date_patterns(where, written=written)):
        yield f"{where} is {value!r}, which is no date of Xero's"


def _date_patterns(where: str, *, written: bool) -> tuple[re.Pattern[str], ...]:
    """How a date may be written: in requests plainly, in answers with its offset, but for few."""
    if written:
        return (_PLAIN_DATE,)
    if where.endswith(".CreatedDateUTC"):
        return (_MS_DATE_WITHOUT_OFFSET,)
    return (_MS_DATE, _MS_DATE_WITHOUT_OFFSET) if where.endswith(_EITHER_WAY) else (_MS_DATE,)


def _header_complaints(headers: Mapping[str, str]) -> Iterator[str]:
    if "Bearer " not in headers.get("Authorization", ""):
        yield "there is no bearer token"
    try:
        uuid.UUID(headers.get("xero-tenant-id", ""))
    except ValueError:
        yield "xero-tenant-id is no UUID"
    if "application/json" not in headers.get("Accept", ""):
        yield "JSON is not asked for"
    since = headers.get("If-Modified-Since")
    if since is not None and datetime.fromisoformat(since).isoformat(timespec="seconds")[:19] != since[:19]:
        yield f"If-Modified-Since is {since}"
    if len(headers.get("Idempotency-Key", "")) > 128:
        yield "Idempotency-Key is longer than 128"


def _problem_complaints(exchange: Exchange) -> list[str]:
    """A 401 or 403: a problem in PascalCase, as recorded; nothing at all where the tier is too low."""
    if exchange.status == 403 and not exchange.answer:
        return []
    given = exchange.answered()
    wanted = ["Type", "Title", "Status", "Detail", "Instance", "Extensions"]
    return [] if list(given) == wanted and given["Status"] == exchange.status else [f"the body is {given}"]
