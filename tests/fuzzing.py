"""What the fuzz tests share: how many examples are tried, and JSON that nobody would write."""

import asyncio
import copy
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

ASKED = os.environ.get("TIEOUT_TEST_EXAMPLES")

_T = TypeVar("_T")


def examples(usually: int) -> Callable[[_T], _T]:
    """So many examples, always the same ones; TIEOUT_TEST_EXAMPLES asks for as many new ones."""
    return settings(
        max_examples=int(ASKED or usually),
        derandomize=not ASKED,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def lasting(loop: asyncio.Runner, opened: Callable[[AsyncExitStack], Coroutine[Any, Any, _T]]) -> Iterator[_T]:
    """What this opens on this loop, for all examples of a module; what the stack holds is closed in the end."""
    stack = AsyncExitStack()
    try:
        yield loop.run(opened(stack))
    finally:
        loop.run(stack.aclose())


TOKENS = (
    "null", "true", "0", "-1", "-0.0", "1e400", "-1e999999999", "1e-400", "NaN", "-Infinity", "9" * 5_000,
    "1." + "0" * 40 + "1", '"NaN"', '"sNaN"', '"-Infinity"', '"1e400"', '"12,50"', '""', '" "', '"x"',
    "[]", "{}", "[[]]",
    '[{"a": []}]', r'"\u0000"', r'"a\u0000b\\u0000"', r'"\ud800"', '"\u202e\U0001f600"', '"%s"' % ("x" * 1_000_000),
    '"%s"' % ("\u00df\u0390\U0001f600" * 200), "[" * 100_000, "[" * 900 + "]" * 900, '{"a":' * 500 + "1" + "}" * 500,
    '"/Date(9e99)/"', '"/Date(99999999999999999999)/"', '"/Date(253402300799999)/"', '"/Date(-62135596800000)/"',
    '"/Date(-99999999999999)/"', '"/Date()/"', '"0001-01-01T00:00:00"', '"9999-12-31T00:00:00"',
    '"2026-02-30T00:00:00"',
    '"../../x"', '"a,b"', '"00000000-0000-0000-0000-000000000000"', '"DELETED"', '"ACCREC"', "1000000000000000000",
    "99999999999999.99", "0.00001",
)  # fmt: skip
"""JSON as it is written, or no JSON at all, to stand where something else is expected."""
_MARK = "\ue000"


@st.composite
def spoiled(draw: st.DrawFn, genuine: bytes) -> bytes:
    """This JSON with some members replaced by something else, left out, doubled or given twice."""
    said = copy.deepcopy(json.loads(genuine))
    for _ in range(draw(st.integers(1, 3))):
        _spoil(draw, said)
    text = json.dumps(said, ensure_ascii=False)
    for number, token in enumerate(TOKENS):
        text = text.replace(f'"{_MARK}{number}"', token)
    return text.encode("utf-8", "surrogatepass")


def _spoil(draw: st.DrawFn, said: Any) -> None:  # noqa: ANN401 - any JSON
    holder, key = _place(draw, said)
    match draw(st.integers(0, 9)):
        case _ if key is None:
            return
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend(holder * 2)
        case 2:
            holder[key] = draw(st.text(max_size=20))
        case _:
            holder[key] = f"{_MARK}{draw(st.integers(0, len(TOKENS) - 1))}"


def _place(draw: st.DrawFn, said: Any) -> tuple[Any, Any]:  # noqa: ANN401 - any JSON
    """A member of this JSON: rather one far inside than one of those at its head, which say little."""
    holder, key = said, None
    while isinstance(holder, dict | list) and holder:
        inner = [name for name, value in _members(holder) if value and isinstance(value, dict | list)]
        if not inner or draw(st.integers(0, 3)) == 0:
            return holder, draw(st.sampled_from([name for name, _ in _members(holder)]))
        key = draw(st.sampled_from(inner))
        holder = holder[key]
    return holder, None


def _members(holder: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    return list(holder.items() if isinstance(holder, dict) else enumerate(holder[:3]))


def damaged(genuine: bytes) -> st.SearchStrategy[bytes]:
    """These bytes cut short, with some replaced by others, or none of them at all."""
    cut = st.integers(0, len(genuine)).map(lambda end: genuine[:end])
    hit = st.tuples(st.integers(0, len(genuine)), st.binary(min_size=1, max_size=8)).map(
        lambda drawn: genuine[: drawn[0]] + drawn[1] + genuine[drawn[0] + len(drawn[1]) :]
    )
    other = st.one_of(st.binary(max_size=64), st.sampled_from([token.encode("utf-8", "replace") for token in TOKENS]))
    page = st.sampled_from(
        [b"<html><h1>Access Denied</h1></html>", b"<script" * 20_000, b"<" * 100_000, b"", b"\0" * 99]
    )
    return st.one_of(cut, hit, other, page)
