"""What callers of Tieout install: `Client`, its errors, watches that resume by themselves, and the CLI.

What is named here is imported when it is first used, so that `import tieout` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tieout.client import Client, Tls
    from tieout.errors import BugError, CallerError, PersonMustActError, TieoutError, TryAgainError
    from tieout.paging import Pages
    from tieout.watch import Patience

__all__ = [
    "BugError",
    "CallerError",
    "Client",
    "Pages",
    "Patience",
    "PersonMustActError",
    "TieoutError",
    "Tls",
    "TryAgainError",
]

_HOMES = {"Client": "client", "Tls": "client", "Pages": "paging", "Patience": "watch"}


def __getattr__(name: str) -> object:
    """Import what is first used. All that is not named in `_HOMES` lives in `errors`."""
    if name not in __all__:
        raise AttributeError(f"module 'tieout' has no attribute {name!r}")
    return getattr(import_module(f"tieout.{_HOMES.get(name, 'errors')}"), name)
