"""The commands `tieout-server callers …`: who may call this service, and with which keys."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Annotated

import typer

from tieout_server.callers.caller import Role
from tieout_server.callers.registering import Listed, Registration, Wanted
from tieout_server.clock import SystemClock
from tieout_server.settings import Settings
from tieout_server.storage.database import Database
from tieout_server.storage.migrate import check_fits, upgrade

Asked = Callable[[Registration], Awaitable[None]]
Run = Callable[[Callable[[Settings], Coroutine[object, object, None]]], None]
"""Reads the settings and runs this to its end, with a sentence for what goes wrong."""

Name = Annotated[str, typer.Argument(help="The caller.")]
Life = Annotated[int, typer.Option("--expires-in-days", min=0, help="Days that the key is good for; 0: for ever.")]


def commands(run: Run) -> typer.Typer:
    """The commands, each carried out by `run`."""
    cli = typer.Typer(help="Who may call this service, and with which keys.", no_args_is_help=True)

    @cli.command()
    def add(
        name: Name,
        role: Annotated[list[Role], typer.Option(help="What it may do; may be repeated.")],
        merchant: Annotated[list[str] | None, typer.Option(help="Only this merchant; may be repeated.")] = None,
        certificate: Annotated[str, typer.Option(help="The name in its certificate (mTLS), instead of a key.")] = "",
        expires_in_days: Life = 0,
    ) -> None:
        """Register a caller. Its key is printed once, and kept nowhere."""
        wanted = Wanted(
            name=name,
            roles=frozenset(role),
            merchants=tuple(merchant or ()),
            certificate=certificate,
            key_life=_life(expires_in_days),
        )
        run(_with(lambda registration: _add(registration, wanted)))

    @cli.command()
    def new_key(name: Name, expires_in_days: Life = 0) -> None:
        """Give a caller another key; then have it use that one, and revoke the old one by its id."""

        async def asked(registration: Registration) -> None:
            typer.echo(await registration.new_key(name, _life(expires_in_days)))

        run(_with(asked))

    @cli.command()
    def revoke(
        name: Annotated[str, typer.Argument(help="The caller. Empty with --key.")] = "",
        key: Annotated[str, typer.Option(help="Only the key with this id.")] = "",
    ) -> None:
        """Let a caller in no more, or accept one of its keys no more. Every replica knows within 5 seconds."""
        if bool(name) == bool(key):
            raise typer.BadParameter("name either a caller or, by --key, one key")
        run(_with(lambda registration: registration.revoke_key(key) if key else registration.revoke(name)))

    @cli.command("list")
    def everybody() -> None:
        """List callers and the ids of their keys, never the keys."""

        async def asked(registration: Registration) -> None:
            for line in _lines(await registration.everybody()):
                typer.echo(line)

        run(_with(asked))

    return cli


async def _add(registration: Registration, wanted: Wanted) -> None:
    key = await registration.add(wanted)
    merchants = ", ".join(wanted.merchants) or "all merchants"
    typer.echo(f"{wanted.name}: {', '.join(sorted(wanted.roles))}, for {merchants}.", err=True)
    if key:
        typer.echo("This is its key. It is shown now and never again:", err=True)
        typer.echo(key)


def _with(asked: Asked) -> Callable[[Settings], Coroutine[object, object, None]]:
    async def done(settings: Settings) -> None:
        database = Database(settings.database_url)
        try:
            await (upgrade if database.is_sqlite else check_fits)(database)
            await asked(Registration(database, SystemClock()))
        finally:
            await database.close()

    return done


def _life(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None


def _lines(listed: Sequence[Listed]) -> Sequence[str]:
    lines = []
    for it in listed:
        merchants = "all merchants" if it.caller.merchants is None else ", ".join(it.caller.merchants)
        by = f"  certificate {it.caller.certificate}" if it.caller.certificate else ""
        ended = f"  revoked {it.caller.revoked_at:%Y-%m-%d}" if it.caller.revoked_at else ""
        lines.append(f"{it.caller.name}  {', '.join(it.caller.roles)}  {merchants}{by}{ended}")
        for key in it.keys:
            until = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "for ever"
            until = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else until
            lines.append(f"  key {key.id}  made {key.created_at:%Y-%m-%d}, {until}")
    return lines
