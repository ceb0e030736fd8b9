"""A page of one outcome: its shape, its rendering as HTML, and the headers that keep it safe."""

import base64
import hashlib
from collections.abc import Iterable
from enum import StrEnum
from html import escape
from http import HTTPStatus
from importlib import resources
from string import Template
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

_FILES = resources.files(__package__)
_TEMPLATE = Template((_FILES / "page.html").read_text())
_STYLE = (_FILES / "page.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
"""As `web.edge` has it for every answer, and this style beside it."""


class Mood(StrEnum):
    """How the outcome looks."""

    SUCCESS = "success"
    ATTENTION = "attention"
    FAILURE = "failure"


_MARKS = {
    Mood.SUCCESS: '<path d="m5 12.5 4.5 4.5L19 7.5"/>',
    Mood.ATTENTION: '<path d="M12 6.5v7"/><path d="M12 17.5v.01"/>',
    Mood.FAILURE: '<path d="m7 7 10 10"/><path d="M17 7 7 17"/>',
}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome as a page; texts are plain and escaped when it is rendered."""

    status: int
    """HTTP status."""
    mood: Mood
    heading: str
    happened: str
    items: tuple[str, ...] = ()
    """What `happened` lists."""
    next: str
    result: str = ""
    """What the link onward tells the platform."""
    connection_id: str = ""
    return_url: str = ""


def render(page: Page) -> str:
    """The page as HTML."""
    return _TEMPLATE.substitute(
        style=_STYLE,
        mood=page.mood.value,
        mark=_MARKS[page.mood],
        heading=escape(page.heading),
        happened=f"<p>{escape(page.happened)}</p>" + _list(page.items),
        lead="What happens next" if page.mood is Mood.SUCCESS else "What you can do",
        next=f"<p>{escape(page.next)}</p>",
        onward=_onward(page),
    )


def _list(items: Iterable[str]) -> str:
    rows = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def _onward(page: Page) -> str:
    if not page.return_url:
        return ""
    url = _with_result(page.return_url, page.connection_id, page.result)
    verb = "Continue to" if page.status == HTTPStatus.OK else "Back to"
    host = urlsplit(page.return_url).netloc
    return f'<a class="button" href="{escape(url)}">{verb} {escape(host)}</a>'


def _with_result(return_url: str, connection_id: str, result: str) -> str:
    """The caller's address, what it already asks kept, with `connection_id` (where known) and `result` appended."""
    parts = urlsplit(return_url)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    ours = [("connection_id", connection_id)] if connection_id else []
    return urlunsplit(parts._replace(query=urlencode([*asked, *ours, ("result", result)])))
