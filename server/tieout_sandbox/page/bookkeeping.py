"""What a bookkeeper's forms do: each action makes one move in the books and says in a sentence what happened."""

from tieout_sandbox.books import causes
from tieout_sandbox.books.documents import CreditKind, Status
from tieout_sandbox.page.asks import Action, Ask


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


def bring_about(ask: Ask) -> str:
    """Make a balance differ, on one contact or on the first that suits."""
    if not ask["cause"]:
        raise ValueError("Say which cause.")
    deed = causes.bring_about(ask.books, causes.Cause(ask["cause"]), ask["contact_id"] or None)
    return f"{deed.contact.name}: {deed.said}"


def put_figures_right(ask: Ask) -> str:
    """Let all figures follow their documents again."""
    found = causes.put_right(ask.books)
    return f"{found:,} figures were put right." if found else "Every figure followed its documents already."


BOOKKEEPING: tuple[Action, ...] = (
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
    bring_about,
    put_figures_right,
)
"""All of them."""
