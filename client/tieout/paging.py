"""Lists that come in pages: one page when awaited, every item when iterated."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import Any, Generic, Protocol, TypeVar


class Page(Protocol):
    """A response of any List call."""

    @property
    def next_page_token(self) -> str:
        """What reads the next page; empty on the last."""
        ...


PageT = TypeVar("PageT", bound=Page)
Item = TypeVar("Item")


class Pages(Generic[PageT, Item]):
    """A list that is read as it is used.

    `await pages` gives one page with its `next_page_token`; `async for item in pages` gives every item from there on,
    and reads a page only when its first item is asked for. Each use reads anew.
    """

    def __init__(
        self, read: Callable[[str], Awaitable[PageT]], items: Callable[[PageT], Iterable[Item]], page_token: str
    ) -> None:
        self._read = read
        self._items = items
        self._page_token = page_token

    def __await__(self) -> Generator[Any, Any, PageT]:
        return self._read(self._page_token).__await__()

    async def __aiter__(self) -> AsyncIterator[Item]:
        token = self._page_token
        while True:
            page = await self._read(token)
            for item in self._items(page):
                yield item
            token = page.next_page_token
            if not token:
                return

    async def first(self, count: int) -> list[Item]:
        """At most so many items, over as many pages as that takes; all of them with 0."""
        found: list[Item] = []
        async for item in self:
            found.append(item)
            if len(found) == count:
                break
        return found
