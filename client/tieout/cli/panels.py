"""Sorts what `tieout --help` lists by what it is about."""

from typer import Typer
from typer.main import get_command_name
from typer.models import CommandInfo, TyperInfo

_PANELS = {
    "Connections to Xero": "connect reconnect choose check connections events disconnect",
    "What is read from Xero": "sync syncs cancel-sync resolve-sync freshness customers customer invoices explain",
    "Do both sides agree": (
        "reconcile discrepancies discrepancy acknowledge evidence report platform-balances chase-check"
    ),
    "Payments into Xero": "payments export-accounts export-settings",
    "As it happens": "watch",
    "For operators": "audit prune purge-merchant erase-customer",
}


def sort_into_panels(app: Typer) -> None:
    """Give each command and group its panel, and list them in this order; there is none without."""
    panel_of = {name: panel for panel, names in _PANELS.items() for name in names.split()}
    app.registered_commands.sort(key=lambda it: list(panel_of).index(_name(it)))
    for it in app.registered_commands:
        it.rich_help_panel = panel_of[_name(it)]
    for group in app.registered_groups:
        group.rich_help_panel = panel_of[_name(group)]


def _name(it: CommandInfo | TyperInfo) -> str:
    return it.name or get_command_name(getattr(it.callback, "__name__", ""))
