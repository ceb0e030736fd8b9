"""How the sandbox behaves: its clock, faults on demand, and the open questions about Xero as switches."""

from tieout_sandbox.faults import FaultKind
from tieout_sandbox.page.causes import causes
from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.shell import clock
from tieout_sandbox.page.view import View, about, card, choice, field, form, live, table
from tieout_sandbox.switches import Description, described

_JUMPS = ((60, "1 minute"), (1_800, "30 minutes"), (86_400, "1 day"), (2_592_000, "30 days"))
_METHODS = (("", "Any"), ("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("DELETE", "DELETE"))


def behaviour(view: View) -> Html:
    """Clock, faults, churn, latency, causes of differences, and switches."""
    return join(
        tag("div", card("Clock", _clock(view)), card("Busy books", _churn(view)), class_="columns"),
        card("Faults", _faults(view)),
        causes(view),
        card(
            "Switches",
            tag("p", "What nobody outside Xero knows for sure, and how the sandbox answers it.", class_="note"),
            tag("ul", [_switch(view, one) for one in described(view.sandbox.switches)], class_="switches"),
        ),
    )


def _clock(view: View) -> Html:
    jumps = [form(view, "advance", text, seconds=str(seconds), quiet=True) for seconds, text in _JUMPS]
    speed = f"{view.sandbox.clock.speed:g}"
    return join(
        tag("p", live("clock", clock(view))),
        form(
            view,
            "speed",
            "Set speed",
            field(
                "Times as fast as real time; 0 stands still",
                "speed",
                type="number",
                min=0,
                step="any",
                value=speed,
                required=True,
            ),
        ),
        tag("p", "Jump ahead by", class_="note"),
        tag("div", jumps, class_="actions"),
    )


def _churn(view: View) -> Html:
    churn, latency = view.sandbox.churn, view.sandbox.accounting.latency_ms
    said = f"{'On' if churn.on else 'Off'}, {churn.changes:,} changes so far."
    return join(
        tag("p", "One random edit, entry or payment after every page that is read. ", said),
        form(view, "churn", "Switch off" if churn.on else "Switch on", on="" if churn.on else "1", quiet=True),
        form(
            view,
            "latency",
            "Set",
            field(
                "Real milliseconds that each API call takes",
                "milliseconds",
                type="number",
                min=0,
                step="any",
                value=f"{latency:g}",
                required=True,
            ),
            quiet=True,
        ),
    )


def _faults(view: View) -> Html:
    rules: list[list[Child]] = [
        [
            rule.kind,
            tag("code", rule.path or "any"),
            _organisation(view, rule.organisation),
            rule.method or "any",
            "for ever" if rule.times is None else str(rule.times),
            f"{rule.probability:.0%}",
        ]
        for rule in view.sandbox.faults.rules
    ]
    return join(
        form(
            view,
            "add-fault",
            "Inject",
            choice("Kind", "kind", [(str(kind), str(kind).replace("_", " ")) for kind in FaultKind]),
            field("Path contains (regular expression)", "path", placeholder="/Invoices", autocomplete="off"),
            choice("Calls about", "only_here", (("", "Any organisation"), ("1", view.organisation.name))),
            choice("Method", "method", _METHODS),
            field("Times", "times", type="number", min=1, value=1, required=True),
            field("Probability", "probability", type="number", min=0, max=1, step="any", value=1, required=True),
        ),
        table(
            "Rules in force",
            ("Kind", "Path", "Organisation", "Method", "Times left", "Probability"),
            rules,
            "Nothing fails.",
        ),
        form(view, "clear-faults", "Let everything pass again", quiet=True) if rules else None,
    )


def _organisation(view: View, organisation_id: str | None) -> str:
    found = view.sandbox.authority.organisations.get(organisation_id or "")
    return found.name if found else "gone" if organisation_id else "any"


def _switch(view: View, one: Description) -> Html:
    changed = "" if one.value == one.default else f" Default: {one.default}."
    unused = "" if one.used else " Not yet used."
    if one.value in {"true", "false"}:
        value: Html = choice(one.name, "value", (("true", "Yes"), ("false", "No")), one.value)
    else:
        value = field(one.name, "value", value=one.value, required=True)
    return tag(
        "li",
        tag("div", tag("p", one.meaning), tag("p", f"Source: {one.source}.{changed}{unused}", class_="note")),
        form(view, "set-switch", about("Set", one.name), value, name=one.name, quiet=True),
    )
