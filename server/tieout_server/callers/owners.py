"""Whose a thing is, remembered: neither its connection nor that connection's merchant ever changes."""

from collections import OrderedDict
from collections.abc import Collection, Mapping

from tieout_server.storage import owners
from tieout_server.storage.database import Database
from tieout_server.storage.owners import Owner

MOST_KNOWN = 100_000


class Owners:
    """The owners of things by kind and id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str], Owner] = OrderedDict()

    async def of(self, kind: str, ids: Collection[str]) -> Mapping[str, Owner]:
        """The owners of these; what does not exist is left out, and not remembered: it may come to be."""
        found = {name: owner for name in ids if (owner := self._known.get((kind, name)))}
        if missing := [name for name in ids if name not in found]:
            async with self._database.read() as tx:
                found |= (read := await owners.find(tx, kind, missing))
            self._remember(kind, read)
        return found

    def _remember(self, kind: str, found: Mapping[str, Owner]) -> None:
        for name, owner in found.items():
            self._known[kind, name] = owner
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
