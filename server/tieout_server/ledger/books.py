"""What is asked of an accounting system: its books, and the identity service that opens them.

The subjects know these protocols only; `xero/` is what stands behind them.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import msgspec

from tieout_server.ledger.documents import Document, Entity, Organisation, OrganisationUser
from tieout_server.ledger.writes import Draft, Found, InvoiceLines, Payable, RecordKind, Written


class Purpose(StrEnum):
    """What a call is made for; each call and byte is booked to one. In order of priority, most urgent first."""

    PAYMENT_EXPORT = "payment_export"
    WEBHOOK = "webhook"
    CONNECT = "connect"
    PROBE = "probe"
    POLL = "poll"
    RECONCILIATION = "reconciliation"
    SETTINGS = "settings"
    CATCH_UP = "catch_up"
    FIRST_SYNC = "first_sync"
    NOTE = "note"
    """Notes in the history of invoices: nobody waits for them."""


class Order(StrEnum):
    """How a listing is ordered."""

    BY_ID = "by_id"
    """By primary id: no edit moves a document to another page."""
    BY_CHANGE = "by_change"
    """By last change, oldest first, then by id: whatever changes moves to the end."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One page of one entity's listing."""

    entity: Entity
    page: int = 1
    page_size: int = 1000
    """1,000 at most: Xero, Requests and responses, Paging."""
    order: Order = Order.BY_ID
    since: datetime | None = None
    """Only documents changed at or after this instant, to the second (If-Modified-Since)."""
    open_only: bool = False
    """Only documents that count towards a balance: AUTHORISED."""
    drafts_only: bool = False
    """Only invoices, or credit notes, that are not in the ledger yet: DRAFT and SUBMITTED."""
    of: tuple[str, ...] = ()
    """Only invoices and credits of these contacts, by Xero's id; none means of all."""


IDS_AT_ONCE = 40
"""Documents that are asked for by their ids in one call: an address stays well below 2,000 characters."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing, as it was served."""

    documents: Sequence[Document]
    page_count: int
    item_count: int
    """How many documents the whole listing held when this page was served."""
    served_at: datetime
    """The accounting system's own clock when it answered."""
    last_change_at: datetime | None = None
    """The last change among the rows of this page, skipped ones included."""
    skipped: Mapping[str, int] = {}
    """Rows that are not receivables, counted by reason (for example ACCPAY documents)."""
    skipped_ids: Sequence[str] = ()
    """The ids of those rows."""
    bytes_wire: int = 0
    """What came over the wire for it, compressed."""


class AgedItem(msgspec.Struct, frozen=True):
    """A document in an aged report: Xero's id (empty where it tells none), its number, and what is open of it."""

    xero_id: str
    number: str
    due: Decimal


class AgedReport(msgspec.Struct, frozen=True):
    """What the accounting system reports as owed by one contact, in the base currency (inferred: U8)."""

    closing: Decimal
    items: Sequence[AgedItem]


class WaitingFor(StrEnum):
    """What holds a call up."""

    MINUTE_LIMIT = "MINUTE_LIMIT"
    DAY_LIMIT = "DAY_LIMIT"
    XERO_UNAVAILABLE = "XERO_UNAVAILABLE"
    OPERATOR = "OPERATOR"
    """An operator has to put this service's settings right."""


class HeldUp(msgspec.Struct, frozen=True):
    """Calls to these books are waiting, for what, and until when as far as known."""

    by: WaitingFor
    until: datetime | None = None


class Books(Protocol):
    """One organisation's books. Every method may raise the errors of `errors.py` that concern Xero."""

    async def read(self, query: Query, purpose: Purpose) -> Page:
        """One page of a listing. Decoding happens off the event loop."""
        ...

    async def by_ids(self, entity: Entity, ids: Sequence[str], purpose: Purpose) -> Page:
        """The documents with these ids, `IDS_AT_ONCE` at most; what Xero does not show now is left out.

        One call for contacts and for invoices, one call for each document of the other entities.
        """
        ...

    async def contacts_like(self, text: str, purpose: Purpose) -> Page:
        """Contacts in whose name, number or email address this text occurs, archived ones too; not all of very many."""
        ...

    async def aged_receivables(self, xero_contact_id: str, on: date, purpose: Purpose) -> AgedReport:
        """What is reported as owed by this contact on this day: one call for one contact."""
        ...

    async def organisation(self, purpose: Purpose) -> Organisation:
        """What the books say of themselves: name, base currency, lock dates."""
        ...

    async def users(self, purpose: Purpose) -> Sequence[OrganisationUser]:
        """Who has access, with their roles."""
        ...

    async def actions(self, purpose: Purpose) -> Mapping[str, bool]:
        """What the authorising user may do there, by Xero's action name (for example CreateInvoicePayment)."""
        ...

    def held_up(self) -> HeldUp | None:
        """What calls to these books are waiting for at this moment, if for anything."""
        ...


class WritableBooks(Books, Protocol):
    """Books in which payments are made, too. Reads for an export are booked to it, and go before all others."""

    async def payable(self, ids: Sequence[str], numbers: Sequence[str], purpose: Purpose) -> Sequence[Payable]:
        """Sales invoices with these ids or numbers and the payments that count on them; what is not there is left out.

        One call for each `IDS_AT_ONCE` ids and one for each `IDS_AT_ONCE` numbers.
        """
        ...

    async def invoice_lines(self, xero_invoice_id: str, purpose: Purpose) -> InvoiceLines | None:
        """The lines of one invoice; None if there is no such invoice."""
        ...

    async def write(self, drafts: Sequence[Draft], idempotency_key: str) -> Sequence[Written]:
        """Make these, all of one kind and `WRITES_AT_ONCE` at most (a deletion goes alone), in one call.

        Each is made or refused by itself; the answers are in the order of the drafts. Repeated with the same key and
        drafts within 6 minutes, it does nothing and answers the same (Xero, Idempotent requests).

        Raises:
            AnswerLostError: it was sent, and whether it was done is not known; `records_since` or `status_of` tell.
            Other errors: nothing was done.
        """
        ...

    async def records_since(self, kind: RecordKind, since: datetime) -> Sequence[Found]:
        """All records of this kind changed at or after this instant of Xero's clock, to be searched for a marker."""
        ...

    async def status_of(self, kind: RecordKind, xero_id: str) -> Found | None:
        """How one payment, refund or batch stands now; None if there is none."""
        ...

    async def note(self, xero_invoice_id: str, text: str, idempotency_key: str) -> None:
        """Add a note to an invoice's history; 2,500 characters at most (Xero, History)."""
        ...


class AccessTokens(Protocol):
    """Where a call gets its bearer token; refreshing is the source's business."""

    async def access_token(self, *, refused: str | None = None) -> str:
        """A token that should be good; `refused` names one that Xero just refused, so another one is wanted."""
        ...


class Library(Protocol):
    """Where books are kept."""

    def open(self, xero_tenant_id: str, tokens: AccessTokens) -> WritableBooks:
        """The books of one organisation. Opening makes no call."""
        ...


class TokenSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a consent or a refresh gave. Never shown: its repr holds no token."""

    xero_user_id: str
    access_token: str
    refresh_token: str
    access_expires_at: datetime
    scopes: tuple[str, ...]
    authentication_event_id: str = ""
    """Names the consent; memberships that came from it carry the same id."""
    email: str = ""
    name: str = ""

    def __repr__(self) -> str:
        """Whose tokens they are and until when, without the tokens."""
        return f"TokenSet(xero_user_id={self.xero_user_id!r}, access_expires_at={self.access_expires_at!r})"


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """One organisation that a user has linked to our app."""

    membership_id: str
    """Xero's connection id: what is deleted to disconnect."""
    xero_tenant_id: str
    name: str
    authentication_event_id: str = ""


class Identity(Protocol):
    """The accounting system's identity service (OAuth 2.0 authorisation code with PKCE)."""

    scopes: tuple[str, ...]
    """What is asked for at consent."""

    def authorization_url(self, *, state: str, code_verifier: str) -> str:
        """Where a person goes to consent."""
        ...

    async def exchange(self, *, code: str, code_verifier: str) -> TokenSet:
        """Tokens for an authorisation code.

        Raises:
            ConsentExpiredError: the code is used, older than 5 minutes, or not ours.
            XeroUnavailableError: no answer; the code may be tried again.
        """
        ...

    async def refresh(self, refresh_token: str) -> TokenSet:
        """New tokens. The old refresh token stays good for 30 minutes, so that a lost answer can be asked for again.

        Raises:
            CredentialsExpiredError: the refresh token is no longer good; a person must consent again.
            XeroUnavailableError: no answer; the token is still good.
        """
        ...

    async def memberships(self, access_token: str, *, authentication_event_id: str = "") -> Sequence[Membership]:
        """The organisations that this user has linked to our app, or those of one consent only."""
        ...

    async def disconnect(self, access_token: str, membership_id: str) -> None:
        """Remove one organisation from those linked to our app; one that is gone already is no error.

        Raises:
            AccessRevokedError: the access token is not accepted.
            XeroUnavailableError: no answer; it may be tried again.
        """
        ...

    async def revoke(self, refresh_token: str) -> None:
        """Take back a consent: all organisations that this user linked to our app go with it.

        Raises:
            XeroUnavailableError: no answer; it may be tried again.
        """
        ...
