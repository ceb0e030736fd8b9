"""HTML that cannot be forged: every text is escaped unless it was made here."""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_VOID = frozenset({"br", "hr", "input", "link", "meta"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | Iterable[Child] | None"
Value: TypeAlias = str | int | bool | None


def join(*children: Child) -> Html:
    """Several pieces, one after the other; None is nothing."""
    return Html("".join(_written(child) for child in children))


def tag(name: str, /, *children: Child, **attributes: Value) -> Html:
    """An element; `class_` loses its underscore, other underscores become hyphens, False and None vanish."""
    opened = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{opened}>")
    return Html(f"<{name}{opened}>{join(*children)}</{name}>")


def _written(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, str | int):
        return escape(str(child))
    return "".join(_written(one) for one in child)


def _attribute(key: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
