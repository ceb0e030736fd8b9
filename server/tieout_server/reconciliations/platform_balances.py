"""The balances of the caller's own books: taken in, kept, and compared with ours and with Xero's."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.clock import Clock
from tieout_server.connections.state import check_is_not_over
from tieout_server.errors import InvalidRequestError, NotFoundError, Violation
from tieout_server.ledger.money import from_units
from tieout_server.reconciliations import platform
from tieout_server.reconciliations.items import Key
from tieout_server.reconciliations.known import known_up_to
from tieout_server.reconciliations.platform import ThreeSides
from tieout_server.storage import connections, customers, discrepancies, open_items, platform_balances
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.platform_balances import PlatformBalance
from tieout_server.work.requests import Requests

MOST = 100_000
"""Balances in one submission: about 30 MB while they come in."""


class Submission:
    """Balances as they come in. Nothing is kept before they are all there, so that a broken stream replaces nothing."""

    def __init__(self, connection_id: str, as_of: datetime, request_id: str = "") -> None:
        self.connection_id = connection_id
        self.as_of = as_of
        self.request_id = request_id
        self._stated: dict[Key, Decimal] = {}
        self._digest = hashlib.sha256()

    def add(self, stated: Iterable[PlatformBalance]) -> None:
        """Take in the next balances.

        Raises:
            InvalidRequestError: there are more than `MOST`, or one came before.
        """
        for one in stated:
            if (one.named, one.currency) in self._stated:
                raise InvalidRequestError(Violation("balances", f"name {one.named} in {one.currency} twice"))
            if len(self._stated) == MOST:
                raise InvalidRequestError(Violation("balances", f"may be {MOST:,} at most in all"))
            self._stated[one.named, one.currency] = one.balance
            self._digest.update(msgspec.json.encode(one))

    @property
    def stated(self) -> list[PlatformBalance]:
        """All that came in, in its order."""
        return [PlatformBalance(named, currency, balance) for (named, currency), balance in self._stated.items()]

    @property
    def content(self) -> tuple[str, datetime, str]:
        """What tells two submissions apart, however they were cut into messages."""
        return self.connection_id, self.as_of, self._digest.hexdigest()


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """Who differs from whom."""

    received: int
    sides: ThreeSides
    as_of: datetime
    """The instant for which our side and Xero's were taken."""


class PlatformBalances:
    """The caller's books beside those of each connection."""

    def __init__(self, database: Database, clock: Clock, requests: Requests) -> None:
        self._database = database
        self._clock = clock
        self._requests = requests

    async def check_known(self, connection_id: str) -> None:
        """Check that there is such a connection: worth knowing before 100,000 balances come in.

        Raises:
            NotFoundError: there is none.
            ConnectionNotUsableError: it was ended.
        """
        async with self._database.read() as tx:
            await _check_known(tx, connection_id)

    async def submit(self, submission: Submission) -> Submitted:
        """Keep these balances in place of those before them, and say who differs from whom.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: it was ended.
            RequestIdReusedError: the request_id came before with other content.
        """
        method, name, content = "SubmitPlatformBalances", submission.request_id, submission.content
        async with self._database.write() as tx:
            if earlier := await self._requests.earlier(tx, method, name, content, Submitted):
                return earlier
        stated = submission.stated
        compared = await self._compare(submission.connection_id, stated)
        async with self._database.write() as tx:
            if earlier := await self._requests.earlier(tx, method, name, content, Submitted):
                return earlier  # the same came twice at the same time
            await _check_known(tx, submission.connection_id, lock=True)
            await platform_balances.replace(tx, submission.connection_id, stated, submission.as_of)
            await self._requests.keep(tx, method, name, content, compared)
        return compared

    async def of_customer(self, connection_id: str, customer_id: str) -> Mapping[str, Decimal]:
        """What the caller's books say of a customer and those merged into it; nothing where it never said anything."""
        async with self._database.read() as tx:
            family = await customers.families(tx, connection_id, [customer_id])
            return await platform_balances.of_contacts(tx, connection_id, family)

    async def _compare(self, connection_id: str, stated: Sequence[PlatformBalance]) -> Submitted:
        async with self._database.read() as tx:
            await _check_known(tx, connection_id)
            merged = await customers.all_merges(tx, connection_id)
            here, ours = await _ours(tx, connection_id, merged)
            off = await discrepancies.open_differences(tx, connection_id)
            as_of = await known_up_to(tx, connection_id)

        def compared() -> ThreeSides:
            said: defaultdict[Key, Decimal] = defaultdict(Decimal)
            for one in stated:
                said[merged.get(one.named, one.named), one.currency] += one.balance
            in_money = {key: from_units(units) for key, units in ours.items()}
            return platform.compare(said, in_money, off, unknown={one.named for one in stated} - here)

        sides = await asyncio.to_thread(compared)  # a second of computing for 100,000: others go on meanwhile
        return Submitted(received=len(stated), sides=sides, as_of=as_of or self._clock.now())


async def _ours(tx: Transaction, connection_id: str, merged: Mapping[str, str]) -> tuple[set[str], Mapping[Key, int]]:
    """Every contact that is here, and what each customer owes by currency, in 1/10,000."""
    here: set[str] = set()
    sums: defaultdict[Key, int] = defaultdict(int)
    async for one in open_items.standings(tx, connection_id):
        here.add(one.xero_contact_id)
        for part in one.sums:
            owner = merged.get(one.xero_contact_id, one.xero_contact_id)
            sums[owner, part.currency] += part.due - part.remaining
    return here, sums


async def _check_known(tx: Transaction, connection_id: str, *, lock: bool = False) -> None:
    link = await connections.get(tx, connection_id, lock=lock)
    if link is None:
        raise NotFoundError("connection", connection_id)
    check_is_not_over(link)
