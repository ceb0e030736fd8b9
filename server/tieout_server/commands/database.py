"""The commands on the database: its tables, its keys, its copies, and what is forgotten of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tieout_server.commands.running import on_database, read_settings

if TYPE_CHECKING:
    from tieout_server.storage.database import Database
    from tieout_server.storage.retention import Kind


def migrate(
    *,
    contract: Annotated[
        bool, typer.Option("--contract", help="Also take away what only earlier versions use; none may run any more.")
    ] = False,
) -> None:
    """Bring the database to this version's tables, beside running servers. Safe to repeat, and from several places."""
    from tieout_server.storage import migrate as migrating

    async def migrated(database: "Database") -> None:
        left = await migrating.upgrade(database, contract=contract)
        typer.echo(f"The database is at revision {await migrating.current(database)}.")
        if left:
            typer.echo(f"Once no earlier version runs any more ({', '.join(left)}): tieout-server migrate --contract")

    on_database(read_settings(), migrated)


def rotate_keys(
    *, check: Annotated[bool, typer.Option("--check", help="Only say what is sealed with an older key.")] = False
) -> None:
    """Seal anew, with the first key of TIEOUT_VAULT_KEYS, what older keys have sealed, while servers run.

    Leaves with 1 while anything is sealed with another key than the first. Safe to repeat.
    """
    from tieout_server.storage import rotation
    from tieout_server.storage.migrate import check_fits
    from tieout_server.storage.vault import Vault

    settings = read_settings()

    async def rotated(database: "Database") -> rotation.Standing:
        await check_fits(database)
        vault = Vault.from_settings(settings.vault_keys.get_secret_value(), settings.database_url)
        for kind, done in ({} if check else await rotation.rotate(database, vault)).items():
            damaged = f"; {done.unreadable:,} do not open, and stay" if done.unreadable else ""
            typer.echo(f"{kind}: {done.resealed:,} sealed anew{damaged}")
        return await rotation.standing(database, vault)

    standing = on_database(settings, rotated)
    for sentence in standing.sentences():
        typer.echo(sentence)
    if not standing.is_done:
        raise typer.Exit(1)


def backup(path: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")]) -> None:
    """Copy a SQLite database while it is in use. A server started with the copy knows that it was restored."""
    from tieout_server.storage import backup as copying

    on_database(read_settings(), lambda database: copying.copy(database, path))
    typer.echo(f"Copied to {path}. Keep the vault's keys apart from it; without them its tokens open for nobody.")


def restored() -> None:
    """Say that the database is a copy that does not show it: of a disk, or of an earlier point in time.

    Stop all servers first; the next one to start goes by it.
    """
    from tieout_server.storage import lineage

    on_database(read_settings(), lineage.declare_copy)
    typer.echo("The next server to start takes this database for a restored one.")


def prune(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")] = False
) -> None:
    """Forget now what is older than TIEOUT_KEEP_…; a running server does so once a day."""
    from tieout_server.clock import SystemClock
    from tieout_server.retention import Retention
    from tieout_server.storage.migrate import check_fits

    settings = read_settings()

    async def pruned(database: "Database") -> "Mapping[Kind, int]":
        await check_fits(database)
        retention = Retention(database, settings, SystemClock())
        return await (retention.count() if dry_run else retention.forget())

    for kind, number in on_database(settings, pruned).items():
        typer.echo(f"{number:>12,} {kind.replace('_', ' ')}{' would be forgotten' if dry_run else ' forgotten'}")
