"""What the commands do, each module imported when one of its commands runs: `--help` is fast."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tieout.cli.commands import (
        audit,
        balances,
        connections,
        consents,
        discrepancies,
        explain,
        export_settings,
        forgetting,
        payments,
        receivables,
        reconciliations,
        syncs,
    )

__all__ = [
    "audit",
    "balances",
    "connections",
    "consents",
    "discrepancies",
    "explain",
    "export_settings",
    "forgetting",
    "payments",
    "receivables",
    "reconciliations",
    "syncs",
]


def __getattr__(name: str) -> ModuleType:
    """Import a command module when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'tieout.cli.commands' has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
