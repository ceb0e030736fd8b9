"""Lists as commands print them: so many at most, and whether there are more."""

from typing import TypeVar

from rich.table import Table
from rich.text import Text

from tieout.cli.show import say
from tieout.paging import Page, Pages

PageT = TypeVar("PageT", bound=Page)
Item = TypeVar("Item")
LARGEST_PAGE = 1000


async def first(pages: Pages[PageT, Item], limit: int) -> tuple[list[Item], bool]:
    """The first items, and whether there are more; all of them with a limit of 0."""
    found = await pages.first(limit and limit + 1)
    return (found[:limit], len(found) > limit) if limit else (found, False)


def page_size(limit: int) -> int:
    """Just enough to see whether there are more than `limit`; the largest page (1,000) where all are wanted."""
    return min(limit + 1, LARGEST_PAGE) if limit else LARGEST_PAGE


def listed(what: Table | str, *, more: bool) -> None:
    """Print a list, and say so where it goes on."""
    say(what)
    if more:
        say(Text("There are more; --limit 0 shows all.", style="dim"))
