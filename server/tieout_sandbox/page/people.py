"""Who works where, which apps they connected, and what an administrator does about it."""

from tieout_sandbox.books.documents import Role
from tieout_sandbox.identity.authority import Connection
from tieout_sandbox.organisations import MAY_CONNECT, Member
from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.view import View, about, card, choice, field, form, table

_ROLES = [
    (
        str(one),
        one.replace("FINANCIALADVISER", "Adviser")
        .replace("INVOICEONLY", "Invoice only")
        .replace("READONLY", "Read only")
        .capitalize(),
    )
    for one in Role
]


def people(view: View) -> Html:
    """Connections, users and lock dates."""
    members = [_member(view, one) for one in view.organisation.members.values()]
    return join(
        card(
            "Connections",
            table(
                "Connections", ("Organisation", "App", "By", "Since", ""), _connections(view), "No app is connected."
            ),
        ),
        card(
            f"Users of {view.organisation.name}",
            tag(
                "p",
                "Only Standard and Adviser may connect apps; take the role away and calls of their apps are refused.",
                class_="note",
            ),
            table("Users", ("Name", "Email", "Role", "Change", ""), members, "Nobody is here."),
        ),
        card("Lock dates", _lock_dates(view)),
        card("The organisation itself", _organisation(view)),
    )


def _connections(view: View) -> list[list[Child]]:
    return [
        [
            _organisation_of(view, held),
            held.client_id,
            held.user.name,
            f"{held.created_at:%d %b %Y %H:%M}",
            form(
                view,
                "disconnect",
                about("Disconnect", f"{held.organisation.name} from {held.client_id} of {held.user.name}"),
                ask=f"Disconnect {held.organisation.name}?",
                connection_id=held.id,
            ),
        ]
        for held in view.sandbox.authority.connections.values()
    ]


def _organisation_of(view: View, held: Connection) -> Child:
    is_gone = view.sandbox.authority.is_gone(held.organisation)
    return (
        join(held.organisation.name, " ", tag("span", "gone", class_="badge removed"))
        if is_gone
        else held.organisation.name
    )


def _member(view: View, member: Member) -> list[Child]:
    user, role = member.user, dict(_ROLES).get(str(member.role), str(member.role))
    style = "ok" if member.role in MAY_CONNECT else "removed" if member.role is Role.REMOVED else ""
    change = form(
        view,
        "set-role",
        about("Set", f"the role of {user.name}"),
        choice(f"Role of {user.first_name}", "role", _ROLES, str(member.role)),
        email=user.email,
        quiet=True,
    )
    revoke = form(
        view,
        "revoke",
        about("Revoke consents", f"of {user.name}"),
        ask=f"Take back all that {user.name} consented to?",
        email=user.email,
    )
    return [user.name, user.email, tag("span", role, class_=f"badge {style}"), change, revoke]


def _organisation(view: View) -> Html:
    name = view.organisation.name
    reset = form(
        view, "reset-organisation", "Reset", ask=f"Begin {name} again, as Xero does with demo companies?", back="/"
    )
    delete = form(view, "delete-organisation", "Delete", ask=f"Delete {name}? It cannot be undone.", back="/")
    return join(
        tag("p", _standing(view), class_="note"),
        tag("div", *_standings(view), class_="actions"),
        tag(
            "p", "A reset gives fresh books under another id; either way every app loses the connection.", class_="note"
        ),
        tag("div", reset, delete, class_="actions"),
    )


def _standing(view: View) -> str:
    kind = "a demo company" if view.organisation.is_demo else "an ordinary company"
    how = "closed: its subscription has lapsed, or its trial has ended" if view.organisation.is_closed else "open"
    return f"{view.organisation.name} is {kind}, and {how}."


def _standings(view: View) -> tuple[Html, Html]:
    close = ("Open again", "open") if view.organisation.is_closed else ("Close", "closed")
    demo = ("Make an ordinary company", "real") if view.organisation.is_demo else ("Make a demo company", "demo")
    return (
        form(view, "set-standing", close[0], quiet=True, standing=close[1]),
        form(view, "set-standing", demo[0], quiet=True, standing=demo[1]),
    )


def _lock_dates(view: View) -> Html:
    period, year = view.organisation.period_lock_on, view.organisation.end_of_year_lock_on
    return join(
        tag(
            "p",
            "What is dated on or before them is locked, as in Xero. Leave a date empty to clear it.",
            class_="note",
        ),
        form(
            view,
            "set-lock-dates",
            "Set",
            field("Period", "period", type="date", value=period.isoformat() if period else ""),
            field("End of year", "end_of_year", type="date", value=year.isoformat() if year else ""),
            quiet=True,
        ),
    )
