"""What the forms do: each action reads its form, makes one move, and says in a sentence what happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeAlias

from tieout_sandbox import switches
from tieout_sandbox.books.documents import ContactStatus, CreditKind, Role, Status
from tieout_sandbox.faults import FaultKind, FaultRule
from tieout_sandbox.webhooks.subscription import Disturbance

if TYPE_CHECKING:  # the server makes both; only the types go round in a circle
    from collections.abc import Mapping

    from tieout_sandbox.books.books import Books
    from tieout_sandbox.organisations import Organisation, User
    from tieout_sandbox.server import Sandbox


@dataclass(frozen=True, slots=True)
class Ask:
    """A form that was sent."""

    sandbox: Sandbox
    organisation: Organisation
    form: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.form.get(name, "").strip()

    @property
    def books(self) -> Books:
        """The open organisation's books."""
        return self.organisation.books

    def amount(self, name: str) -> Decimal | None:
        """An amount, or None where the field was left empty.

        Raises:
            ValueError: it is no number.
        """
        text = self[name].replace(",", "")
        try:
            return Decimal(text) if text else None
        except InvalidOperation as error:
            raise ValueError(f"{self[name]} is not an amount.") from error

    def total(self) -> Decimal:
        """The amount that must be there.

        Raises:
            ValueError: it is missing or no number.
        """
        amount = self.amount("total")
        if amount is None:
            raise ValueError("Say how much.")
        return amount

    def name(self) -> str:
        """A name that must be there.

        Raises:
            ValueError: it is missing.
        """
        if not self["name"]:
            raise ValueError("A contact needs a name.")
        return self["name"]

    def on(self, name: str) -> date | None:
        """A date, or None where the field was left empty."""
        return date.fromisoformat(self[name]) if self[name] else None

    def contact_id(self, id_name: str, name: str) -> str:
        """A contact by its id or, failing that, by its exact name.

        Raises:
            ValueError: there is no such active contact.
        """
        if self[id_name]:
            return self[id_name]
        for contact in self.books.contacts.values():
            if contact.status is ContactStatus.ACTIVE and contact.name.casefold() == self[name].casefold():
                return contact.id
        raise ValueError(f"There is no active contact named {self[name]}.")

    def user(self) -> User:
        """The user that the form is about.

        Raises:
            ValueError: there is none.
        """
        user = self.sandbox.authority.user_by_email(self["email"])
        if user is None:
            raise ValueError(f"There is no user {self['email']}.")
        return user


Action: TypeAlias = Callable[[Ask], str] | Callable[[Ask], Awaitable[str]]


def create_contact(ask: Ask) -> str:
    """Add a contact."""
    return f"{ask.books.create_contact(ask.name(), ask['email']).name} was added."


def rename_contact(ask: Ask) -> str:
    """Give a contact another name."""
    return f"It is called {ask.books.rename_contact(ask['contact_id'], ask.name()).name} now."


def archive_contact(ask: Ask) -> str:
    """Put a contact away."""
    return f"{ask.books.archive_contact(ask['contact_id']).name} was archived."


def restore_contact(ask: Ask) -> str:
    """Bring a contact back."""
    return f"{ask.books.restore_contact(ask['contact_id']).name} is back."


def merge_contact(ask: Ask) -> str:
    """Move one contact's documents to another."""
    loser = ask.books.merge_contact(ask["contact_id"], ask.contact_id("winner_id", "winner"))
    return f"{loser.name} was merged into {ask['winner']}."


def create_invoice(ask: Ask) -> str:
    """Enter an invoice."""
    made = ask.books.create_invoice(
        ask.contact_id("contact_id", "contact"),
        ask.total(),
        status=Status(ask["status"] or Status.AUTHORISED),
        currency=ask["currency"] or None,
        due_on=ask.on("due_on"),
        reference=ask["reference"],
    )
    return f"Invoice {made.number} over {made.total:,.2f} {made.currency} was entered."


def edit_invoice(ask: Ask) -> str:
    """Change the one thing that the form is about."""
    made = ask.books.edit_invoice(
        ask["invoice_id"],
        reference=ask["reference"] if "reference" in ask.form else None,
        due_on=ask.on("due_on"),
        expected_payment_on=ask.on("expected_payment_on"),
    )
    return f"Invoice {made.number} was changed."


def authorise(ask: Ask) -> str:
    """Bring an invoice into the ledger."""
    return f"Invoice {ask.books.authorise(ask['invoice_id']).number} is authorised."


def delete_invoice(ask: Ask) -> str:
    """Drop a draft."""
    return f"Invoice {ask.books.delete_invoice(ask['invoice_id']).number} was deleted."


def void(ask: Ask) -> str:
    """Void an invoice."""
    return f"Invoice {ask.books.void(ask['invoice_id']).number} was voided."


def pay(ask: Ask) -> str:
    """Pay an invoice, in full unless an amount is given."""
    made = ask.books.pay(
        ask["invoice_id"],
        ask.amount("amount"),
        account_id=ask["account_id"] or None,
        on=ask.on("on"),
        reference=ask["reference"],
    )
    return f"{made.amount:,.2f} {made.target.currency} was paid on {made.target.number}."


def delete_payment(ask: Ask) -> str:
    """Undo a payment."""
    gone = ask.books.delete_payment(ask["payment_id"])
    return f"The payment of {gone.amount:,.2f} on {gone.target.number or 'an overpayment'} was deleted."


def create_credit(ask: Ask) -> str:
    """Enter a credit."""
    made = ask.books.create_credit(
        CreditKind(ask["kind"]),
        ask["contact_id"],
        ask.total(),
        currency=ask["currency"] or None,
        reference=ask["reference"],
    )
    return f"A credit of {made.total:,.2f} {made.currency} was entered."


def allocate(ask: Ask) -> str:
    """Set a credit against an invoice."""
    made = ask.books.allocate(ask["credit_id"], ask["invoice_id"], ask.amount("amount"))
    return f"{made.amount:,.2f} {made.invoice.currency} was set against {made.invoice.number}."


def remove_allocation(ask: Ask) -> str:
    """Take an allocation back."""
    held = ask.books.credit(ask["credit_id"]).allocations
    found = next((one for one in held if one.id == ask["allocation_id"]), None)
    if found is None:
        raise ValueError("That allocation is gone already.")
    ask.books.remove_allocation(found)
    return f"{found.amount:,.2f} {found.invoice.currency} was taken back from {found.invoice.number}."


def refund(ask: Ask) -> str:
    """Give a credit back, all that is left unless an amount is given."""
    made = ask.books.refund(ask["credit_id"], ask.amount("amount"), account_id=ask["account_id"] or None)
    return f"{made.amount:,.2f} {made.target.currency} was given back."


def void_credit(ask: Ask) -> str:
    """Void a credit."""
    return f"The credit of {ask.books.void_credit(ask['credit_id']).total:,.2f} was voided."


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
    milliseconds = float(ask["milliseconds"])
    if not 0 <= milliseconds < float("inf"):
        raise ValueError("Latency is a number of milliseconds from 0 on.")
    ask.sandbox.accounting.latency_ms = milliseconds
    return f"Each API call takes {milliseconds:g} ms now."


def add_fault(ask: Ask) -> str:
    """Make calls fail."""
    rule = FaultRule(
        FaultKind(ask["kind"]),
        path=ask["path"],
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


_ALL: tuple[Action, ...] = (
    create_contact,
    rename_contact,
    archive_contact,
    restore_contact,
    merge_contact,
    create_invoice,
    edit_invoice,
    authorise,
    delete_invoice,
    void,
    pay,
    delete_payment,
    create_credit,
    allocate,
    remove_allocation,
    refund,
    void_credit,
    set_role,
    revoke,
    disconnect,
    set_lock_dates,
    speed,
    advance,
    churn,
    latency,
    add_fault,
    clear_faults,
    forget_requests,
    subscribe,
    intend,
    disable_webhook,
    unsubscribe,
    disturb,
    set_switch,
)
ACTIONS = {action.__name__.replace("_", "-"): action for action in _ALL}
"""By the name in the form's address."""
