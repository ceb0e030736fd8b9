"""What was asked of the sandbox, and how much of the limits is used."""

from tieout_sandbox.page.html import Html, join, tag
from tieout_sandbox.page.view import View, card, choice, form, live, moment, search, table
from tieout_sandbox.request_log import Entry

_SHOWN = 60
_NEARLY = 0.75
_STATUSES = (
    ("", "Any answer"),
    ("200", "200"),
    ("400", "400"),
    ("401", "401"),
    ("403", "403"),
    ("404", "404"),
    ("429", "429"),
    ("500", "500"),
    ("503", "503"),
)


def traffic(view: View) -> Html:
    """Limits and requests."""
    return join(
        card(
            "Limits",
            tag("p", "Per organisation and app, in windows that begin at a fixed instant.", class_="note"),
            live("limits", gauges(view)),
            _exhaust(view),
        ),
        card(
            "Requests",
            search(
                view, "traffic", "part of a path", choice("Answer", "status", _STATUSES, view.query.get("status", ""))
            ),
            live("requests", requests_table(view, _SHOWN)),
            form(view, "forget-requests", "Forget all requests", quiet=True),
        ),
    )


def requests_table(view: View, shown: int = _SHOWN) -> Html:
    """The latest requests, newest first."""
    wanted, status = view.query.get("q", "").lower(), view.query.get("status", "")
    rows = []
    for entry in reversed(view.sandbox.requests.entries):
        if wanted in entry.path.lower() and status in {"", str(entry.status)}:
            rows.append([moment(entry.at), _asked(entry), _answered(entry), f"{entry.bytes:,}", _whose(view, entry)])
        if len(rows) == shown:
            break
    headings = ("Time", "Request", "Answer", "Bytes", "Organisation and app")
    return table("The latest requests", headings, rows, "Nothing was asked yet.")


def gauges(view: View) -> Html:
    """How much of each limit every connected app has used."""
    authority = view.sandbox.authority
    reached = [held for held in authority.connections.values() if not authority.is_gone(held.organisation)]
    lines = dict.fromkeys((held.organisation.id, held.client_id) for held in reached)
    if not lines:
        return tag("p", "No app is connected, so there is nothing to count.", class_="empty")
    return join(*(_line(view, *line) for line in lines))


def _exhaust(view: View) -> Html | None:
    """A form that uses up what an app has left at the open organisation."""
    connections = view.sandbox.authority.connections.values()
    apps = dict.fromkeys(held.client_id for held in connections if held.organisation is view.organisation)
    if not apps:
        return None
    return form(
        view,
        "exhaust",
        f"Use up at {view.organisation.name}",
        choice("App", "client_id", [(client_id, client_id) for client_id in apps]),
        choice("Limit", "limit", (("day", "Day"), ("minute", "Minute"))),
        quiet=True,
    )


def _line(view: View, organisation_id: str, client_id: str) -> Html:
    limits, now = view.sandbox.limits, view.sandbox.clock.now()
    left, quota = limits.remaining(organisation_id, client_id, now), limits.quota
    name = view.sandbox.organisation(organisation_id).name
    return join(
        tag("h3", f"{name} · {client_id}"),
        tag(
            "div",
            _gauge("In flight", limits.in_flight(organisation_id, client_id), quota.in_flight),
            _gauge("Minute", quota.minute - left.minute, quota.minute),
            _gauge("Day", quota.day - left.day, quota.day),
            _gauge("App minute", quota.app_minute - left.app_minute, quota.app_minute),
            class_="gauges",
        ),
    )


def _gauge(name: str, used: int, most: int) -> Html:
    said = f"{used:,} of {most:,}"
    return tag(
        "div",
        tag("p", tag("span", name), tag("span", said)),
        tag(
            "meter",
            said,
            min=0,
            max=most,
            value=used,
            low=int(most * _NEARLY),
            high=most - 1,
            optimum=0,
            aria_label=f"{name}: {said}",
        ),
        class_="gauge",
    )


def _asked(entry: Entry) -> Html:
    query = "&".join(f"{name}={value}" for name, value in entry.query.items() if name not in {"code", "state"})
    return tag("code", f"{entry.method} {entry.path}{f'?{query}' if query else ''}")


def _answered(entry: Entry) -> Html:
    if not entry.status:
        return tag("span", "no answer", class_="badge failed")
    text = f"{entry.status} {entry.limit_problem}" if entry.limit_problem else str(entry.status)
    good, poor = range(200, 400), range(400, 500)
    return tag(
        "span", text, class_=f"badge {'ok' if entry.status in good else 'warn' if entry.status in poor else 'failed'}"
    )


def _whose(view: View, entry: Entry) -> str:
    if entry.organisation_id is None:
        return "—"
    found = view.sandbox.authority.organisations.get(entry.organisation_id)
    return f"{found.name if found else 'gone'} · {entry.client_id}"
