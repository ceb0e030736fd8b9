"""The commands `tieout-server callers …`: who may call this service, and with which keys."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from tieout_server.callers.caller import Role
from tieout_server.commands.running import Answer, on_database, read_settings

if TYPE_CHECKING:
    from tieout_server.callers.registering import Listed, Registration
    from tieout_server.storage.database import Database

Name = Annotated[str, typer.Argument(help="The caller.")]
Life = Annotated[int, typer.Option("--expires-in-days", min=0, help="Days that the key is good for; 0: for ever.")]

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
    from tieout_server.callers.registering import Wanted

    wanted = Wanted(
        name=name,
        roles=frozenset(role),
        merchants=tuple(merchant or ()),
        certificate=certificate,
        key_life=_life(expires_in_days),
    )
    key = _on_register(lambda register: register.add(wanted))
    merchants = ", ".join(wanted.merchants) or "all merchants"
    typer.echo(f"{name}: {', '.join(sorted(wanted.roles))}, for {merchants}.", err=True)
    if key:
        typer.echo("This is its key. It is shown now and never again:", err=True)
        typer.echo(key)


@cli.command()
def new_key(name: Name, expires_in_days: Life = 0) -> None:
    """Give a caller another key; then have it use that one, and revoke the old one by its id."""
    typer.echo(_on_register(lambda register: register.new_key(name, _life(expires_in_days))))


@cli.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The caller. Empty with --key.")] = "",
    key: Annotated[str, typer.Option(help="Only the key with this id.")] = "",
) -> None:
    """Let a caller in no more, or accept one of its keys no more. Every replica knows within 5 seconds."""
    if bool(name) == bool(key):
        raise typer.BadParameter("name either a caller or, by --key, one key")
    _on_register(lambda register: register.revoke_key(key) if key else register.revoke(name))


@cli.command("list")
def everybody() -> None:
    """List callers and the ids of their keys, never the keys."""
    listed = _on_register(lambda register: register.everybody())
    for line in _lines(listed):
        typer.echo(line)
    if not listed:
        typer.echo("Nobody is registered in the database of TIEOUT_DATABASE_URL.", err=True)


def _on_register(asked: "Callable[[Registration], Awaitable[Answer]]") -> Answer:
    from tieout_server.callers.registering import Registration
    from tieout_server.clock import SystemClock
    from tieout_server.storage.migrate import check_fits, upgrade

    async def done(database: "Database") -> Answer:
        await (upgrade if database.is_sqlite else check_fits)(database)
        return await asked(Registration(database, SystemClock()))

    return on_database(read_settings(), done)


def _life(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None


def _lines(listed: "Sequence[Listed]") -> Iterator[str]:
    for it in listed:
        merchants = "all merchants" if it.caller.merchants is None else ", ".join(it.caller.merchants)
        by = f"  certificate {it.caller.certificate}" if it.caller.certificate else ""
        ended = f"  revoked {it.caller.revoked_at:%Y-%m-%d}" if it.caller.revoked_at else ""
        yield f"{it.caller.name}  {', '.join(it.caller.roles)}  {merchants}{by}{ended}"
        for key in it.keys:
            until = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "for ever"
            until = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else until
            yield f"  key {key.id}  made {key.created_at:%Y-%m-%d}, {until}"
