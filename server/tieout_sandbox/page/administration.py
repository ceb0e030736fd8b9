"""What an administrator's and a tester's forms do: people, connections, time, faults, switches, webhooks."""

from datetime import timedelta

from tieout_sandbox import switches
from tieout_sandbox.books.documents import Role
from tieout_sandbox.faults import FaultKind, FaultRule
from tieout_sandbox.limits import Problem
from tieout_sandbox.page.asks import Action, Ask
from tieout_sandbox.webhooks.subscription import Disturbance

_STANDINGS = {"closed": "closed", "open": "open", "demo": "a demo company", "real": "an ordinary company"}


def set_role(ask: Ask) -> str:
    """Promote, downgrade or remove a user."""
    user, role = ask.user(), Role(ask["role"])
    ask.organisation.set_role(user.id, role, ask.sandbox.clock.now())
    return f"{user.name} was removed." if role is Role.REMOVED else f"{user.name} has the role {role} now."


def revoke(ask: Ask) -> str:
    """Take back all that a user consented to."""
    user = ask.user()
    ask.sandbox.authority.revoke_user(user.id)
    return f"All that {user.name} consented to was taken back."


def disconnect(ask: Ask) -> str:
    """Remove one connection."""
    held = ask.sandbox.authority.connections.get(ask["connection_id"])
    if held is None:
        raise ValueError("That connection is gone already.")
    ask.sandbox.authority.disconnect(held.id)
    return f"{held.organisation.name} was disconnected from {held.client_id}."


def reset_organisation(ask: Ask) -> str:
    """Begin an organisation again under another id."""
    ask.sandbox.reset(ask.organisation)
    return f"{ask.organisation.name} has fresh books and another id."


def delete_organisation(ask: Ask) -> str:
    """Let an organisation go."""
    ask.sandbox.authority.delete_organisation(ask.organisation)
    return f"{ask.organisation.name} was deleted."


def set_standing(ask: Ask) -> str:
    """Close an organisation or open it again; make it a demo company or a real one."""
    found, wanted = ask.organisation, ask["standing"]
    match wanted:
        case "closed" | "open":
            found.is_closed = wanted == "closed"
        case "demo" | "real":
            found.is_demo = wanted == "demo"
        case _:
            raise ValueError("Say how the organisation shall stand.")
    return f"{found.name} is {_STANDINGS[wanted]} now."


def set_lock_dates(ask: Ask) -> str:
    """Set or clear the lock dates."""
    ask.organisation.period_lock_on = ask.on("period")
    ask.organisation.end_of_year_lock_on = ask.on("end_of_year")
    return "The lock dates were set."


def speed(ask: Ask) -> str:
    """Let time pass faster or slower."""
    ask.sandbox.clock.speed = float(ask["speed"])
    return f"The clock runs {ask.sandbox.clock.speed:g} times as fast as real time."


def advance(ask: Ask) -> str:
    """Jump ahead."""
    now = ask.sandbox.clock.advance(timedelta(seconds=float(ask["seconds"])))
    return f"It is {now:%d %b %Y, %H:%M:%S} now."


def churn(ask: Ask) -> str:
    """Switch random changes on or off."""
    ask.sandbox.churn.on = bool(ask["on"])
    return f"The books are {'busy' if ask.sandbox.churn.on else 'quiet'} now."


def latency(ask: Ask) -> str:
    """Let API calls take longer."""
    ask.sandbox.accounting.latency_ms = float(ask["milliseconds"])
    return f"Each API call takes {ask.sandbox.accounting.latency_ms:g} ms now."


def exhaust(ask: Ask) -> str:
    """Use up what an app has left of its minute or its day."""
    if ask["client_id"] not in ask.sandbox.authority.apps:
        raise ValueError("Say whose limit.")
    now = ask.sandbox.clock.now()
    refusal = ask.sandbox.limits.exhaust(Problem(ask["limit"]), ask.organisation.id, ask["client_id"], now)
    return f"The {refusal.problem} is used up; the next one begins in {refusal.retry_after:,} seconds of the clock."


def add_fault(ask: Ask) -> str:
    """Make calls fail."""
    rule = FaultRule(
        FaultKind(ask["kind"]),
        path=ask["path"],
        organisation=ask.organisation.id if ask["only_here"] else None,
        method=ask["method"] or None,
        times=int(ask["times"] or 1),
        probability=float(ask["probability"] or 1),
    )
    ask.sandbox.faults.add(rule)
    return f"The next {rule.times} matching calls meet {rule.kind.replace('_', ' ')}."


def clear_faults(ask: Ask) -> str:
    """Let everything pass."""
    ask.sandbox.faults.clear()
    return "Nothing fails any more."


def set_switch(ask: Ask) -> str:
    """Answer an open question another way."""
    switches.set_switch(ask.sandbox.switches, ask["name"], ask["value"])
    return f"{ask['name']} is {ask['value']} now."


def forget_requests(ask: Ask) -> str:
    """Empty the request log."""
    ask.sandbox.requests.clear()
    return "The requests were forgotten."


async def subscribe(ask: Ask) -> str:
    """Register a webhook and ask for the intent to receive."""
    ask.sandbox.webhooks.subscribe(ask["client_id"], ask["url"], ask["key"] or None)
    return await intend(ask)


async def intend(ask: Ask) -> str:
    """Ask for the intent to receive."""
    found = await ask.sandbox.webhooks.intend(ask["client_id"])
    problems = [one.problem for one in list(found.deliveries)[-4:] if one.problem]
    return f"Standing: {found.standing}." + (f" {problems[0]}." if problems else "")


def disable_webhook(ask: Ask) -> str:
    """Disable a webhook as after a day of failing."""
    ask.sandbox.webhooks.subscriptions[ask["client_id"]].disable()
    return "The webhook is disabled; its events are kept."


def unsubscribe(ask: Ask) -> str:
    """Forget a webhook."""
    if ask["client_id"] not in ask.sandbox.webhooks.subscriptions:
        raise ValueError("That webhook is gone already.")
    ask.sandbox.webhooks.unsubscribe(ask["client_id"])
    return "The webhook is gone."


def disturb(ask: Ask) -> str:
    """Let events lag, overtake each other and come twice."""
    lag, jitter = timedelta(seconds=float(ask["lag"])), timedelta(seconds=float(ask["jitter"]))
    found = ask.sandbox.webhooks.subscriptions[ask["client_id"]]
    found.disturb(Disturbance(lag, jitter, float(ask["duplicates"]), int(ask["seed"])))
    return "The network is as unkind as you said."


ADMINISTRATION: tuple[Action, ...] = (
    set_role,
    revoke,
    disconnect,
    reset_organisation,
    delete_organisation,
    set_standing,
    set_lock_dates,
    speed,
    advance,
    churn,
    latency,
    exhaust,
    add_fault,
    clear_faults,
    set_switch,
    forget_requests,
    subscribe,
    intend,
    disable_webhook,
    unsubscribe,
    disturb,
)
"""All of them."""
