"""The whole examination: each check by itself, all at once, in the order in which their findings are read."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from tieout_server.doctor import callers, configuration, contents, database, outside, sealed
from tieout_server.doctor.findings import Check, Finding, Level, bounded, fault, not_examined
from tieout_server.settings import Settings
from tieout_server.storage.database import Database, DatabaseUrlError

_OF_TABLES = ("vault", "connections", "payments", "work")
_IN_TABLES = ", ".join(_OF_TABLES)


async def examine(settings: Settings) -> Sequence[Finding]:
    """Everything that can be found out about a service with these settings, from where this runs."""
    checks = {
        "settings": functools.partial(configuration.examine, settings),
        "callers": functools.partial(callers.examine, settings),
        "Xero": functools.partial(outside.hosts, settings),
        "Xero app": functools.partial(outside.credentials, settings),
        "way back": functools.partial(outside.way_back, settings),
    }
    found = await asyncio.gather(*(bounded(name, check) for name, check in checks.items()), _data(settings))
    first, second, *rest, data = found
    return [finding for findings in (first, second, data, *rest) for finding in findings]


async def _data(settings: Settings) -> Sequence[Finding]:
    """The database first: where it cannot be used, or has other tables, what it holds cannot be told."""
    try:
        opened = Database(settings.database_url, pool_size=2)
    except DatabaseUrlError as wrong:
        return [fault(database.NAME, str(wrong), "Correct TIEOUT_DATABASE_URL.")]
    try:
        found = list(await bounded(database.NAME, functools.partial(database.examine, settings, opened)))
        if _is_bad(found):
            return [
                *found,
                not_examined(f"migrations, {_IN_TABLES}", "They are looked at once the database can be used."),
            ]
        version = await bounded("migrations", functools.partial(database.examine_version, opened))
        if any(one.level is not Level.FINE for one in version):
            return [
                *found,
                *version,
                not_examined(_IN_TABLES, "They are looked at once the tables are this version's."),
            ]
        contained = await asyncio.gather(*(bounded(name, check) for name, check in _contents(settings, opened).items()))
        return [*found, *version, *(finding for findings in contained for finding in findings)]
    finally:
        await opened.close()


def _contents(settings: Settings, opened: Database) -> dict[str, Check]:
    looks: tuple[Callable[[Database], Awaitable[Sequence[Finding]]], ...]
    looks = (functools.partial(sealed.examine, settings), contents.connections, contents.exports, contents.work)
    return {name: functools.partial(look, opened) for name, look in zip(_OF_TABLES, looks, strict=True)}


def _is_bad(found: Sequence[Finding]) -> bool:
    """Whether the first look already showed that nothing more can be read."""
    return len(found) == 1 and found[0].check == database.NAME and found[0].level is Level.FAULT
