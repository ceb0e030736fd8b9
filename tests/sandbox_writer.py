"""An app that writes to the sandbox, for the tests of what it may and may not write."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import ClientResponse

from sandbox_caller import Caller
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Contact, ContactStatus, Invoice, InvoiceType, Status

WRITING_SCOPES = (
    "openid profile email offline_access accounting.contacts accounting.settings.read accounting.invoices "
    "accounting.payments accounting.banktransactions accounting.reports.aged.read"
)
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass
class Answer:
    """A response whose body was read, amounts as Decimal."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = _DECODER.decode(self.text)
        return found

    @property
    def messages(self) -> list[str]:
        """Every validation message of a 400."""
        return [error["Message"] for found in self.body["Elements"] for error in found["ValidationErrors"]]


@dataclass
class Writer:
    """Puts, posts and deletes, and knows what is in the books."""

    caller: Caller

    @property
    def books(self) -> Books:
        return self.caller.sandbox.books

    async def send(
        self, method: str, path: str, body: object = None, *, query: str = "", data: bytes | None = None, **headers: str
    ) -> Answer:
        """Any request; `headers` are named with underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = data if data is not None else b"" if body is None else _ENCODER.encode(body)
        url = f"{self.caller.sandbox.url}/api.xro/2.0/{path}{query}"
        all_headers = self.caller.headers(**{"Content-Type": "application/json", **named})
        async with self.caller.http.request(method, url, data=sent, headers=all_headers) as response:
            return await _answer(response)

    async def put(self, path: str, body: object, **more: Any) -> Answer:  # noqa: ANN401 the same as of send
        return await self.send("PUT", path, body, **more)

    async def post(self, path: str, body: object, **more: Any) -> Answer:  # noqa: ANN401 the same as of send
        return await self.send("POST", path, body, **more)

    async def one(self, path: str) -> dict[str, Any]:
        """The single element of a GET."""
        answer = await self.send("GET", path)
        assert answer.status == 200, answer.text
        name = next(key for key, value in answer.body.items() if isinstance(value, list))
        (found,) = answer.body[name]
        return dict(found)

    # What is in the books

    @property
    def bank_id(self) -> str:
        return self.books.bank_account("NZD").id

    def owed(self, at_least: str = "50.00", currency: str = "NZD") -> Invoice:
        """An open sales invoice on which nothing was paid or credited."""
        return next(
            found
            for found in self.books.invoices.values()
            if found.type is InvoiceType.ACCREC
            and found.status is Status.AUTHORISED
            and found.currency == currency
            and found.amount_due == found.total >= Decimal(at_least)
            and found.contact.status is ContactStatus.ACTIVE
        )

    def customer(self) -> Contact:
        """An active contact who deals in the base currency."""
        return next(
            found
            for found in self.books.contacts.values()
            if found.status is ContactStatus.ACTIVE and found.is_customer and found.currency in {None, "NZD"}
        )

    def payment(self, invoice: Invoice, amount: str | None = None, **more: object) -> dict[str, Any]:
        """What a payment of an invoice looks like in a request."""
        return {
            "Invoice": {"InvoiceID": invoice.id},
            "Account": {"AccountID": self.bank_id},
            "Date": "2026-11-20",
            "Amount": Decimal(amount) if amount else invoice.amount_due,
            **more,
        }


async def _answer(response: ClientResponse) -> Answer:
    return Answer(response.status, dict(response.headers), await response.text())
