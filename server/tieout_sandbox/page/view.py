"""What every page is drawn from: the sandbox, whose books are open, and how to write addresses, amounts and forms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tieout_sandbox.page.html import Child, Html, Value, join, tag

if TYPE_CHECKING:  # the server makes both; only the types go round in a circle
    from collections.abc import Iterable, Mapping, Sequence

    from tieout_sandbox.books.books import Books
    from tieout_sandbox.organisations import Organisation
    from tieout_sandbox.server import Sandbox

PREFIX = "/sandbox/page"
ROWS = 25
_NUMBERS = frozenset(
    {"Amount", "Bytes", "Events", "Open", "Overdue", "Owes", "Price", "Quantity", "Tax", "Took", "Total", "Unused"}
)
"""Headings of columns that are read digit under digit."""


@dataclass(frozen=True, slots=True)
class View:
    """One request for a page.

    Args:
        sandbox: everything.
        organisation: whose books are open.
        query: what was asked for beside that.
        path: the page's own address, to which its forms return.
        token: what proves that a form came from a page of ours.
    """

    sandbox: Sandbox
    organisation: Organisation
    query: Mapping[str, str]
    path: str
    token: str

    @property
    def books(self) -> Books:
        """The open organisation's books."""
        return self.organisation.books

    def link(self, page: str, /, **query: str | int) -> str:
        """The address of a page, about the same organisation."""
        kept = {"org": self.organisation.id, **query}
        return f"{f'{PREFIX}/{page}' if page else '/'}?{urlencode(kept)}"

    def page_number(self) -> int:
        """Which page of a list is wanted, from 1."""
        wanted = self.query.get("page", "1")
        return max(1, int(wanted)) if wanted.isascii() and wanted.isdigit() else 1


def money(amount: Decimal, currency: str = "") -> Html:
    """An amount to be read, aligned by its digits."""
    return tag("span", f"{amount:,.2f}", f" {currency}" if currency else None, class_="money")


def day(on: date | None) -> str:
    """A date to be read."""
    return "—" if on is None else f"{on.day} {on:%b %Y}"


def moment(at: datetime) -> Html:
    """An instant to be read, in UTC."""
    return tag("time", f"{at:%H:%M:%S}", datetime=at.isoformat())


def badge(text: str, style: str = "") -> Html:
    """A status, told by its words first and by its colour second."""
    return tag("span", text.replace("_", " ").capitalize(), class_=f"badge {style or text.lower().split()[0]}")


def link(address: str, *children: Child) -> Html:
    """A link."""
    return tag("a", *children, href=address)


def card(title: str, *children: Child, class_: str = "card") -> Html:
    """A titled part of a page."""
    key = "h-" + "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return tag("section", tag("h2", title, id=key), *children, class_=class_, aria_labelledby=key)


def figures(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Terms with their values."""
    return tag("dl", [tag("div", tag("dt", term), tag("dd", value)) for term, value in pairs], class_="figures")


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Child]], empty: str) -> Html:
    """A table that becomes a stack of cards on a phone; the roles stay when the display changes."""
    if not rows:
        return tag("p", empty, class_="empty")
    kinds = ["number" if text in _NUMBERS else None for text in headings]
    head = [
        tag("th", text, scope="col", role="columnheader", class_=kind)
        for text, kind in zip(headings, kinds, strict=True)
    ]
    body = [
        [
            tag("td", cell, role="cell", data_label=text, class_=kind)
            for text, cell, kind in zip(headings, row, kinds, strict=True)
        ]
        for row in rows
    ]
    return tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", head, role="row"), role="rowgroup"),
        tag("tbody", [tag("tr", row, role="row") for row in body], role="rowgroup"),
        role="table",
    )


def pager(view: View, page: str, total: int, **query: str) -> Html:
    """Where one is in a long list, and the ways on and back."""
    number, last = view.page_number(), max(1, -(-total // ROWS))
    kept = {name: value for name, value in query.items() if value}
    back = tag("a", "Previous", href=view.link(page, page=number - 1, **kept), rel="prev") if number > 1 else None
    on = tag("a", "Next", href=view.link(page, page=number + 1, **kept), rel="next") if number < last else None
    return tag(
        "nav",
        back,
        tag("span", f"Page {number:,} of {last:,} · {total:,} in all"),
        on,
        class_="pager",
        aria_label="Pages",
    )


def field(label: str, name: str, **attributes: Value) -> Html:
    """An input with its label."""
    return tag("label", tag("span", label), tag("input", name=name, **{"type": "text", **attributes}))


def amount_field(label: str, name: str, **attributes: Value) -> Html:
    """An input for an amount of money."""
    return field(
        label,
        name,
        inputmode="decimal",
        pattern=r"[0-9]+([.][0-9]{1,2})?",
        autocomplete="off",
        title="An amount such as 120.50",
        **attributes,
    )


def choice(label: str, name: str, options: Iterable[tuple[str, str]], chosen: str = "") -> Html:
    """A choice of one out of some."""
    made = [tag("option", text, value=value, selected=value == chosen) for value, text in options]
    return tag("label", tag("span", label), tag("select", made, name=name))


def search(view: View, page: str, placeholder: str, *more: Child) -> Html:
    """The form that narrows a list."""
    return tag(
        "form",
        tag("input", type="hidden", name="org", value=view.organisation.id),
        field("Search", "q", type="search", value=view.query.get("q", ""), placeholder=placeholder),
        more,
        tag("button", "Show", class_="quiet"),
        method="get",
        action=f"{PREFIX}/{page}",
        role="search",
        class_="row",
    )


def form(
    view: View, action: str, button: Child, /, *fields: Child, ask: str = "", quiet: bool = False, **hidden: str
) -> Html:
    """A form that does something; `ask` is what the browser asks before it is sent."""
    kept = {"token": view.token, "org": view.organisation.id, "back": view.path, **hidden}
    style = "danger" if ask else "quiet" if quiet else None
    return tag(
        "form",
        [tag("input", type="hidden", name=name, value=value) for name, value in kept.items()],
        fields,
        tag("button", button, class_=style),
        method="post",
        action=f"{PREFIX}/do/{action}",
        class_="row",
        data_ask=ask or None,
    )


def about(button: str, which: str) -> Html:
    """The words on a button that stands in many rows, with those that tell it from the others for who cannot see."""
    return join(button, tag("span", f" {which}", class_="hidden"))


def fold(title: str, *children: Child, open_: bool = False) -> Html:
    """Something that is shown when wanted."""
    return tag("details", tag("summary", title), tag("div", *children), open=open_)


def live(part: str, content: Html) -> Html:
    """A piece that the script keeps fresh."""
    return tag("div", content, data_live=part)
