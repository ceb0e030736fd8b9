"""Writing several elements in one call: each is done whole or not at all, and so may be the call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft, InvalidError
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.books.savepoint import Savepoint, untold

Write = Callable[[Call, Draft], Any]
Block = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one element: its document as written, or None where it was refused."""

    draft: Draft
    block: str | None

    @property
    def state(self) -> str:
        """StatusAttributeString."""
        if self.block is None:
            return "ERROR"
        return "WARNING" if self.draft.warnings else "OK"


def write_elements(call: Call, drafts: list[Draft], write: Write, block: Block, *, together: bool) -> list[Done]:
    """Write elements in their order, each as it finds the books after those before it.

    Args:
        call: whose books.
        drafts: the elements.
        write: does one of them.
        block: writes the resulting document as it stands right then.
        together: whether nothing at all is done once one of them is refused.

    Raises:
        PostDataError: a value has the wrong type; nothing was done.
    """
    before = _Whole(call)
    with untold(call.books):
        try:
            done = [_write(before, draft, write, block) for draft in drafts]
        except BaseException:
            before.roll_back()
            raise
        if together and any(one.block is None for one in done):
            before.roll_back()
    return done


class _Whole:
    """A call's elements so far, to be taken back from the last to the first."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._points: list[Savepoint] = []

    def begin(self) -> Savepoint:
        point = Savepoint(self.call.books)
        self._points.append(point)
        self.call.point = point
        return point

    def roll_back(self) -> None:
        for point in reversed(self._points):
            point.roll_back()


def _write(whole: _Whole, draft: Draft, write: Write, block: Block) -> Done:
    point = whole.begin()
    try:
        return Done(draft, block(write(whole.call, draft)))
    except InvalidError:
        point.roll_back()
    except NotAllowedError as error:
        point.roll_back()
        draft.refuse(str(error))
    return Done(draft, None)
