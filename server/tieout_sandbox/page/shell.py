"""The frame around every page: header, clock, organisations, navigation and what the last action said."""

from dataclasses import dataclass, replace

from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.view import PREFIX, View, live

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' "
    "rx='4' fill='%230a6e8a'/%3E%3Cpath d='M4 8.5l3 3 5-7' fill='none' stroke='white' stroke-width='2'/%3E%3C/svg%3E"
)
_PAGES = (
    (
        "Books",
        (
            ("", "Overview"),
            ("customers", "Contacts"),
            ("invoices", "Invoices"),
            ("payments", "Payments"),
            ("credits", "Credits"),
        ),
    ),
    (
        "Sandbox",
        (
            ("people", "People and connections"),
            ("traffic", "Traffic and limits"),
            ("webhooks", "Webhooks"),
            ("behaviour", "Clock, faults, switches"),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What an action said."""

    text: str
    failed: bool = False


def whole(view: View, title: str, current: str, body: Child, notice: Notice | None = None) -> str:
    """A complete document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · {view.organisation.name} · Xero sandbox"),
        tag("link", rel="icon", href=_ICON),
        tag("link", rel="stylesheet", href=f"{PREFIX}/page.css"),
        tag("script", src=f"{PREFIX}/page.js", defer=True),
    )
    main = tag("main", _said(notice), tag("h1", title), body, id="main", tabindex="-1")
    skip = tag("a", "Skip to the content", href="#main", class_="skip")
    footer = tag("footer", "A made-up Xero on this machine. Nothing here is real, and all of it is gone when it ends.")
    frame = tag("div", _navigation(view, current), main, class_="frame")
    return "<!doctype html>" + tag("html", head, tag("body", skip, _header(view, current), frame, footer), lang="en")


def clock(view: View) -> Html:
    """What time it is in the sandbox, and how fast it runs."""
    now, speed = view.sandbox.clock.now(), view.sandbox.clock.speed
    pace = "stands still" if speed == 0 else "real time" if speed == 1 else f"{speed:g} times as fast"
    return join(tag("time", f"{now.day} {now:%b %Y, %H:%M:%S} UTC", datetime=now.isoformat()), f" · {pace}")


def _header(view: View, current: str) -> Html:
    organisations = [
        tag(
            "a",
            found.name,
            href=replace(view, organisation=found).link(current),
            aria_current="true" if found is view.organisation else None,
        )
        for found in view.sandbox.organisations
    ]
    return tag(
        "header",
        tag("a", tag("span", "✓", class_="mark", aria_hidden="true"), "Xero sandbox", href="/", class_="brand"),
        tag("nav", organisations, class_="organisations", aria_label="Organisation"),
        tag(
            "div",
            live("clock", clock(view)),
            tag("button", "Pause updates", type="button", class_="quiet", hidden=True, data_pause=True),
            class_="clock",
        ),
    )


def _navigation(view: View, current: str) -> Html:
    groups = [
        tag(
            "div",
            tag("p", title, class_="group"),
            tag(
                "ul",
                [
                    tag("li", tag("a", text, href=view.link(page), aria_current="page" if page == current else None))
                    for page, text in pages
                ],
            ),
        )
        for title, pages in _PAGES
    ]
    return tag("nav", groups, class_="main", aria_label="Main")


def _said(notice: Notice | None) -> Html | None:
    if notice is None:
        return None
    kind = "failed" if notice.failed else "done"
    return tag(
        "p",
        notice.text,
        class_=f"notice {kind}",
        role="alert" if notice.failed else "status",
        tabindex="-1",
        autofocus=True,
    )
