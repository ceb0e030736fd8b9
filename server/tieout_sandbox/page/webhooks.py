"""Webhooks: who subscribed, how it stands, how unkind the network is, and what was sent."""

from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.view import View, badge, card, choice, field, figures, form, live, moment, table
from tieout_sandbox.webhooks.subscription import Delivery, Kind, Subscription

_SHOWN = 40


def webhooks(view: View) -> Html:
    """Every app's webhook, and the deliveries."""
    subscriptions = view.sandbox.webhooks.subscriptions
    return join(
        *(_subscription(view, found) for found in subscriptions.values()),
        card("Subscribe", _subscribe(view)),
        card("Deliveries", live("deliveries", deliveries_table(view, _SHOWN))),
    )


def deliveries_table(view: View, shown: int = _SHOWN) -> Html:
    """The latest deliveries of all apps, newest first."""
    sent = [one for found in view.sandbox.webhooks.subscriptions.values() for one in found.deliveries]
    sent.sort(key=lambda one: one.at)
    rows = [_row(one) for one in reversed(sent[-shown:])]
    return table("Deliveries", ("Time", "What", "Events", "Answer", "Took"), rows, "Nothing was sent yet.")


def _row(one: Delivery) -> list[Child]:
    what = str(one.kind).capitalize()
    if one.kind is Kind.INTENT:
        what += " (signed rightly)" if one.signed_rightly else " (signed wrongly)"
    good = not one.problem
    answer = tag("span", str(one.status or "none"), class_=f"badge {'ok' if good else 'failed'}")
    return [
        moment(one.at),
        join(what, tag("details", tag("summary", "Body"), tag("pre", one.body))),
        str(one.events),
        join(answer, None if good else f" {one.problem}"),
        tag("span", f"{one.took_ms} ms", class_="nowrap"),
    ]


def _subscription(view: View, found: Subscription) -> Html:
    pairs: list[tuple[str, Child]] = [
        ("Standing", badge(found.standing)),
        ("Address", tag("code", found.url)),
        ("Waiting events", str(len(found.pending))),
        ("Categories", tag("span", ", ".join(sorted(found.categories)), class_="small")),
        ("Signing key", tag("code", found.key)),
    ]
    if found.retry_at is not None:
        pairs.append(("Next try", moment(found.retry_at)))
    client = found.client_id
    unkind = found.disturbance
    return card(
        f"Webhook of {client}",
        figures(pairs),
        tag(
            "div",
            form(view, "intend", "Send intent to receive", client_id=client),
            form(view, "disable-webhook", "Disable", quiet=True, client_id=client),
            form(view, "unsubscribe", "Remove", ask="Remove this webhook and what waits for it?", client_id=client),
            class_="actions",
        ),
        tag("h3", "How unkind the network is"),
        form(
            view,
            "disturb",
            "Set",
            field("Lag (s)", "lag", type="number", min=0, step="any", value=f"{unkind.lag.total_seconds():g}"),
            field("Jitter (s)", "jitter", type="number", min=0, step="any", value=f"{unkind.jitter.total_seconds():g}"),
            field(
                "Duplicates (0 to 1)",
                "duplicates",
                type="number",
                min=0,
                max=1,
                step="any",
                value=f"{unkind.duplicates:g}",
            ),
            field("Seed", "seed", type="number", value=unkind.seed),
            client_id=client,
            quiet=True,
        ),
    )


def _subscribe(view: View) -> Html:
    apps = [(client_id, f"{app.name} ({client_id})") for client_id, app in view.sandbox.authority.apps.items()]
    return form(
        view,
        "subscribe",
        "Subscribe",
        choice("App", "client_id", apps),
        field(
            "Address (this machine only)",
            "url",
            type="url",
            required=True,
            placeholder="http://127.0.0.1:8000/webhooks",
        ),
        field("Signing key (made up if empty)", "key", autocomplete="off"),
    )
