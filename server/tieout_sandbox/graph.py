"""Dataclasses that point at each other, in circles too, as plain JSON values and back.

Only classes that are named beforehand are ever made, and nothing of theirs is run: a strange file can do no harm.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any

_PLAIN = (str, int, float, bool, type(None))


class GraphError(ValueError):
    """These are no values that were written here."""


class Shapes:
    """The classes that may stand in a graph, by name.

    Args:
        modules: every dataclass and enum that is defined in one of them.
        left_out: members that are not written, such as what can be made again; reading sets them to None.
    """

    def __init__(self, modules: Iterable[ModuleType], left_out: Mapping[type, frozenset[str]]) -> None:
        found = [
            thing
            for module in modules
            for thing in vars(module).values()
            if isinstance(thing, type) and thing.__module__ == module.__name__
        ]
        self.classes = {thing.__name__: thing for thing in found if is_dataclass(thing)}
        self.enums = {thing.__name__: thing for thing in found if issubclass(thing, Enum)}
        self._left_out = left_out
        self._members: dict[type, tuple[tuple[str, bool], ...]] = {}

    def members(self, kind: type) -> tuple[tuple[str, bool], ...]:
        """A class's members, and whether each is written."""
        if kind not in self._members:
            left_out = self._left_out.get(kind, frozenset())
            self._members[kind] = tuple((member.name, member.name not in left_out) for member in fields(kind))
        return self._members[kind]


def frozen(root: object, shapes: Shapes) -> dict[str, Any]:
    """The root and all that can be reached from it, as JSON values.

    Raises:
        TypeError: something in it has no shape.
    """
    return _Freezer(shapes).frozen(root)


def thawed(value: object, shapes: Shapes) -> Any:  # noqa: ANN401 whatever was frozen
    """What `frozen` was given.

    Raises:
        GraphError: the value was not made by `frozen`, or with other classes.
    """
    try:
        return _Thawer(shapes, value).root()
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise GraphError(f"This cannot be read: {error!r}") from error


class _Freezer:
    """Numbers each object when it is first met and writes it later: circles end, and no depth is too deep."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []

    def frozen(self, root: object) -> dict[str, Any]:
        first, objects = self._value(root), []
        for thing in self._met:  # grows while it is walked
            kind = type(thing)
            values = [self._value(getattr(thing, name)) for name, kept in self._shapes.members(kind) if kept]
            objects.append([kind.__name__, *values])
        return {"root": first, "objects": objects}

    def _value(self, value: Any) -> Any:  # noqa: ANN401 any value
        kind = type(value)
        if kind in _PLAIN:
            return value
        write = _WRITERS.get(kind)
        if write is not None:
            return write(value, self._value)
        if isinstance(value, Enum):
            return ["e", kind.__name__, value.value]
        if self._shapes.classes.get(kind.__name__) is kind:
            return ["r", self._number(value)]
        raise TypeError(f"No shape for {kind.__name__}")

    def _number(self, thing: object) -> int:
        number = self._numbers.get(id(thing))
        if number is None:
            number = self._numbers[id(thing)] = len(self._met)
            self._met.append(thing)
        return number


_Walk = Callable[[Any], Any]
_WRITERS: dict[type, Callable[[Any, _Walk], list[Any]]] = {
    Decimal: lambda value, _: ["d", str(value)],
    datetime: lambda value, _: ["t", value.isoformat()],
    date: lambda value, _: ["o", value.isoformat()],
    timedelta: lambda value, _: ["s", value.total_seconds()],
    list: lambda value, walk: ["l", *map(walk, value)],
    tuple: lambda value, walk: ["u", *map(walk, value)],
    set: lambda value, walk: ["z", *sorted(map(walk, value))],
    frozenset: lambda value, walk: ["f", *sorted(map(walk, value))],
    dict: lambda value, walk: ["m", *([walk(key), walk(item)] for key, item in value.items())],
}
_READERS: dict[str, Callable[[list[Any], _Walk], Any]] = {
    "d": lambda parts, _: Decimal(parts[0]),
    "t": lambda parts, _: datetime.fromisoformat(parts[0]),
    "o": lambda parts, _: date.fromisoformat(parts[0]),
    "s": lambda parts, _: timedelta(seconds=parts[0]),
    "l": lambda parts, walk: [walk(part) for part in parts],
    "u": lambda parts, walk: tuple(walk(part) for part in parts),
    "z": lambda parts, walk: {walk(part) for part in parts},
    "f": lambda parts, walk: frozenset(walk(part) for part in parts),
    "m": lambda parts, walk: {walk(key): walk(item) for key, item in parts},
}


class _Thawer:
    """Makes every object empty first, then fills them: an object may stand in its own members."""

    def __init__(self, shapes: Shapes, value: Any) -> None:  # noqa: ANN401 anything may be given
        self._shapes = shapes
        self._root = value["root"]
        self._written = value["objects"]
        self._made = [object.__new__(shapes.classes[name]) for name, *_ in self._written]

    def root(self) -> Any:  # noqa: ANN401 whatever was frozen
        for thing, (_, *values) in zip(self._made, self._written, strict=True):
            members = self._shapes.members(type(thing))
            given = iter(values)
            if len(values) != sum(kept for _, kept in members):
                raise GraphError(f"{type(thing).__name__} has other members now")
            for name, kept in members:
                object.__setattr__(thing, name, self._value(next(given)) if kept else None)  # frozen ones, too
        return self._value(self._root)

    def _value(self, value: Any) -> Any:  # noqa: ANN401 any value
        if not isinstance(value, list):
            return value
        tag, *parts = value
        if tag == "r":
            return self._made[parts[0]]
        if tag == "e":
            return self._shapes.enums[parts[0]](parts[1])
        return _READERS[tag](parts, self._value)
