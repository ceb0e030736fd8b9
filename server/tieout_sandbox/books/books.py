"""The one way to change an organisation's books: every move does to both sides what Xero does."""

from datetime import date, timedelta
from decimal import Decimal

from tieout_sandbox.books.check import faults_in
from tieout_sandbox.books.documents import (
    GONE,
    ZERO,
    Account,
    Allocation,
    Batch,
    Contact,
    ContactStatus,
    Credit,
    CreditKind,
    Invoice,
    InvoiceType,
    Payment,
    Status,
    Target,
)
from tieout_sandbox.books.ledger import Change, Ledger
from tieout_sandbox.books.rules import (
    TOO_MUCH_ALLOCATED,
    NotAllowedError,
    checked,
    conclude,
    count_payment,
    credit_number,
    one_line,
)
from tieout_sandbox.books.settle import Terms, settle


class Books(Ledger):
    """Contacts, accounts and documents of one organisation, and what may happen to them.

    Every move raises NotFoundError for an unknown id and NotAllowedError, in Xero's words, for what is not allowed.
    """

    def check(self) -> None:
        """Prove that everything adds up.

        Raises:
            AssertionError: something does not; the message names it.
        """
        faults = faults_in(self)
        if faults:
            raise AssertionError(f"{len(faults)} faults in the books: " + "; ".join(faults[:10]))

    # Contacts

    def create_contact(self, name: str, email: str = "") -> Contact:
        """Add a contact without documents: neither customer nor supplier yet."""
        self.check_name_free(name)
        return self.put_contact(Contact(self.ids.new(), name, self.stamp(), email=email))

    def rename_contact(self, contact_id: str, name: str) -> Contact:
        """Give a contact another name; its documents show it, but do not move unless switched (fact sheet U23)."""
        contact = self.find(self.contacts, contact_id)
        if contact.name != name:
            self.check_name_free(name)
        contact.name = name
        self._forget_documents_of(contact)
        for document in contact.documents if self.switches.contact_edits_move_documents else ():
            self.moved(document)
        return self.moved(contact)

    def archive_contact(self, contact_id: str) -> Contact:
        """Put a contact away; what it owes stays owed."""
        contact = self.find(self.contacts, contact_id)
        contact.status = ContactStatus.ARCHIVED
        return self.moved(contact)

    def restore_contact(self, contact_id: str) -> Contact:
        """Bring an archived contact back; a merged one cannot come back."""
        contact = self.find(self.contacts, contact_id)
        if contact.merged_to_id or contact.status is ContactStatus.GDPRREQUEST:
            raise NotAllowedError("A merged or erased contact cannot be restored.")
        self.check_name_free(contact.name, but=contact)
        contact.status = ContactStatus.ACTIVE
        return self.moved(contact)

    def erase_contact(self, contact_id: str) -> Contact:
        """Carry out a GDPR request, which nothing takes back; documents stay (Xero, GDPR and the Contact API)."""
        contact = self.find(self.contacts, contact_id)
        contact.status = ContactStatus.GDPRREQUEST
        if self.switches.erased_contacts_are_redacted:
            contact.redact()
        self._forget_documents_of(contact)
        return self.moved(contact) if self.switches.erasing_moves_updated else self.silent(contact)

    def merge_contact(self, losing_id: str, winning_id: str) -> Contact:
        """Move all documents of one contact to another and archive it.

        The winner's UpdatedDateUTC stays (reported by integrators); the answer is the losing contact.
        """
        losing, winning = self.find(self.contacts, losing_id), self.find(self.contacts, winning_id)
        if losing is winning or winning.status is not ContactStatus.ACTIVE or losing.merged_to_id:
            raise NotAllowedError("A contact can only be merged into another, active one.")
        for document in losing.documents:
            document.contact = winning
        for found in self.bank_transactions.values():
            if found.contact_of_its_own is losing:
                found.contact_of_its_own = winning
        winning.documents.extend(losing.documents)
        winning.is_customer |= losing.is_customer
        winning.is_supplier |= losing.is_supplier
        losing.documents = []
        losing.is_customer = losing.is_supplier = False
        losing.status, losing.merged_to_id = ContactStatus.ARCHIVED, winning.id
        self._forget_documents_of(winning)
        return self.moved(losing)

    # Invoices

    def create_invoice(
        self,
        contact_id: str,
        total: Decimal,
        *,
        type_: InvoiceType = InvoiceType.ACCREC,
        status: Status = Status.AUTHORISED,
        currency: str | None = None,
        on: date | None = None,
        due_on: date | None = None,
        reference: str = "",
    ) -> Invoice:
        """Enter a one-line invoice without tax, due in 30 days unless said otherwise."""
        contact = self._usable_contact(contact_id)
        total = checked(total)
        if status not in {Status.DRAFT, Status.SUBMITTED, Status.AUTHORISED}:
            raise NotAllowedError("Invoice not of valid status for creation")
        code, rate = self._currency(currency or contact.currency)
        dated_on = on or self.today()
        invoice = Invoice(
            id=self.ids.new(),
            type=type_,
            number=f"INV-{len(self.invoices) + 1:05d}",
            contact=contact,
            on=dated_on,
            due_on=due_on or dated_on + timedelta(days=30),
            currency=code,
            rate=rate,
            lines=one_line("Services", total),
            sub_total=total,
            total_tax=ZERO,
            total=total,
            updated_at=self.stamp(),
            status=status,
            reference=reference,
        )
        return self.put_invoice(invoice)

    def edit_invoice(
        self,
        invoice_id: str,
        *,
        reference: str | None = None,
        due_on: date | None = None,
        expected_payment_on: date | None = None,
    ) -> Invoice:
        """Change what may be changed at any time.

        A new due date alone on a part-paid invoice does not move UpdatedDateUTC (Xero, requests), unless switched.
        """
        invoice = self.find(self.invoices, invoice_id)
        if invoice.status in GONE:
            raise NotAllowedError("Invoice not of valid status for modification")
        if due_on is not None:
            invoice.due_on = due_on
        if reference is not None:
            invoice.reference = reference
        if expected_payment_on is not None:
            invoice.expected_payment_on = expected_payment_on
        only_due = due_on is not None and reference is None and expected_payment_on is None
        part_paid = bool(invoice.payments or invoice.allocations)
        if only_due and part_paid and not self.switches.due_date_of_part_paid_moves_updated:
            return self.silent(invoice)
        return self.moved(invoice)

    def authorise(self, invoice_id: str) -> Invoice:
        """Bring a draft or submitted invoice into the ledger."""
        return self._step(invoice_id, {Status.DRAFT, Status.SUBMITTED}, Status.AUTHORISED)

    def delete_invoice(self, invoice_id: str) -> Invoice:
        """Drop a draft or submitted invoice."""
        return self._step(invoice_id, {Status.DRAFT, Status.SUBMITTED}, Status.DELETED)

    def void(self, invoice_id: str) -> Invoice:
        """Void an authorised invoice on which nothing was paid or credited."""
        return self._step(invoice_id, {Status.AUTHORISED}, Status.VOIDED)

    # Money and credits

    def pay(
        self,
        invoice_id: str,
        amount: Decimal | None = None,
        *,
        account_id: str | None = None,
        on: date | None = None,
        reference: str = "",
    ) -> Payment:
        """Pay an invoice, in full unless an amount is given; payment and invoice get the same UpdatedDateUTC."""
        invoice = self._open_invoice(invoice_id)
        amount = checked(invoice.amount_due if amount is None else amount)
        if amount > invoice.amount_due:
            raise NotAllowedError("Payment amount exceeds the amount outstanding on this document")
        return self._settle(invoice, amount, account_id, on, reference)

    def refund(
        self,
        credit_id: str,
        amount: Decimal | None = None,
        *,
        account_id: str | None = None,
        on: date | None = None,
        reference: str = "",
    ) -> Payment:
        """Pay a credit back to the customer, all that remains unless an amount is given."""
        credit = self.credit(credit_id)
        if credit.status is not Status.AUTHORISED:
            raise NotAllowedError("Payments can only be made against Authorised documents")
        amount = checked(credit.remaining_credit if amount is None else amount)
        if amount > credit.remaining_credit:
            raise NotAllowedError("Payment amount exceeds the amount outstanding on this document")
        return self._settle(credit, amount, account_id, on, reference)

    def delete_payment(self, payment_id: str) -> Payment:
        """Undo a payment: its document is open again, the payment stays as DELETED, stamped just after its document."""
        payment = self.find(self.payments, payment_id)
        if payment.status is Status.DELETED:
            raise NotAllowedError("Payment has already been deleted")
        if payment.batch is not None:
            raise NotAllowedError("This payment is part of a batch payment and cannot be deleted by itself.")
        return self._undo(payment)

    def delete_batch(self, batch_id: str) -> Batch:
        """Undo a batch payment with all its parts, which stay as DELETED."""
        batch = self.find(self.batches, batch_id)
        if batch.status is Status.DELETED:
            raise NotAllowedError("Batch payment has already been deleted")
        for payment in batch.payments:
            self._undo(payment)
        batch.status, batch.updated_at = Status.DELETED, self.stamp()
        return batch

    def _undo(self, payment: Payment) -> Payment:
        target = payment.target
        target.payments.remove(payment)
        count_payment(target, -payment.amount)
        payment.status = Status.DELETED
        conclude(target)
        self.moved(target, Change.SETTLED)
        return self.moved(payment)

    def create_credit(
        self,
        kind: CreditKind,
        contact_id: str,
        total: Decimal,
        *,
        currency: str | None = None,
        on: date | None = None,
        reference: str = "",
        of_supplier: bool = False,
    ) -> Credit:
        """Enter a credit note, an overpayment or a prepayment, authorised and unapplied."""
        contact = self._usable_contact(contact_id)
        total = checked(total)
        code, rate = self._currency(currency or contact.currency)
        credit = Credit(
            id=self.ids.new(),
            kind=kind,
            number=credit_number(kind, len(self.credits_of(kind)) + 1),
            contact=contact,
            on=on or self.today(),
            currency=code,
            rate=rate,
            lines=one_line("Credit", total),
            sub_total=total,
            total_tax=ZERO,
            total=total,
            updated_at=self.stamp(),
            reference=reference,
            of_supplier=of_supplier,
        )
        return self.put_credit(credit)

    def allocate(self, credit_id: str, invoice_id: str, amount: Decimal | None = None) -> Allocation:
        """Set a customer's credit against an invoice, a supplier's against a bill: as much as fits unless said."""
        credit, invoice = self.credit(credit_id), self._open_invoice(invoice_id)
        parties = [(one.contact, one.currency, one.of_supplier) for one in (credit, invoice)]
        if parties[0] != parties[1]:
            raise NotAllowedError("A credit can only be allocated to an invoice of its contact and currency")
        amount = checked(min(credit.remaining_credit, invoice.amount_due) if amount is None else amount)
        if amount > credit.remaining_credit or amount > invoice.amount_due:
            raise NotAllowedError(TOO_MUCH_ALLOCATED[credit.kind])
        allocation = Allocation(self.ids.new(), credit, invoice, amount, max(credit.on, invoice.on))
        self.put_allocation(allocation)
        self._after_allocation(allocation)
        return allocation

    def remove_allocation(self, allocation: Allocation) -> None:
        """Take an allocation back: credit and invoice are as open as before."""
        allocation.credit.allocations.remove(allocation)
        allocation.invoice.allocations.remove(allocation)
        allocation.credit.amount_allocated -= allocation.amount
        allocation.invoice.amount_credited -= allocation.amount
        self._after_allocation(allocation)

    def void_credit(self, credit_id: str) -> Credit:
        """Void a credit of which nothing is used."""
        credit = self.credit(credit_id)
        if credit.status is not Status.AUTHORISED or credit.payments or credit.allocations:
            raise NotAllowedError("This document cannot be edited as it has a payment or credit note allocated to it.")
        credit.status = Status.VOIDED
        self.moved(credit)
        for received in self.bank_transactions.values():
            if received.credit is credit:
                received.updated_at = credit.updated_at.replace(microsecond=0)
        return credit

    def edit_account(
        self, account_id: str, *, status: str | None = None, takes_payments: bool | None = None
    ) -> Account:
        """Archive an account, bring it back, or let payments be made to one that is no bank account."""
        account = self.find(self.accounts, account_id)
        if status not in {None, "ACTIVE", "ARCHIVED"} or account.system_account:
            raise NotAllowedError("This account cannot be changed that way.")
        account.status = status or account.status
        if takes_payments is False and any(p.account is account for p in self.payments.values()):
            raise NotAllowedError("Payments stand on this account.")
        if takes_payments is not None:
            account.takes_payments = takes_payments
        account.updated_at = self.stamp()
        self.revision += 1
        return account

    # Inside

    def _settle(
        self, target: Target, amount: Decimal, account_id: str | None, on: date | None, reference: str
    ) -> Payment:
        account = self.find(self.accounts, account_id) if account_id else self.bank_account(target.currency)
        if not account.is_payable:
            raise NotAllowedError("Account type is invalid for making a payment to/from")
        return settle(self, target, Terms(account, on or self.today(), amount, reference))

    def _after_allocation(self, allocation: Allocation) -> None:
        for document in (allocation.credit, allocation.invoice):
            conclude(document)
            if self.switches.allocations_move_updated:
                self.moved(document, Change.SETTLED)
            else:
                self.silent(document)
                self.tell(document, Change.SETTLED, self._now())

    def _step(self, invoice_id: str, before: set[Status], after: Status) -> Invoice:
        invoice = self.find(self.invoices, invoice_id)
        if invoice.payments or invoice.allocations:
            raise NotAllowedError("This document cannot be edited as it has a payment or credit note allocated to it.")
        if invoice.status not in before:
            raise NotAllowedError("Invoice not of valid status for modification")
        invoice.status = after
        return self.moved(invoice)

    def _open_invoice(self, invoice_id: str) -> Invoice:
        invoice = self.find(self.invoices, invoice_id)
        if invoice.status is not Status.AUTHORISED:
            raise NotAllowedError("Payments can only be made against Authorised documents")
        return invoice

    def _usable_contact(self, contact_id: str) -> Contact:
        contact = self.find(self.contacts, contact_id)
        if contact.status is not ContactStatus.ACTIVE:
            raise NotAllowedError(
                "The contact with the specified contact details has been archived. The contact must be un-archived "
                "before creating new invoices or credit notes."
            )
        return contact

    def _currency(self, code: str | None) -> tuple[str, Decimal]:
        code = code or self.base_currency
        if code not in self.rates:
            raise NotAllowedError(f"Organisation is not subscribed to currency {code}")
        return code, self.rates[code]

    def _forget_documents_of(self, contact: Contact) -> None:
        """Drop what was rendered with the contact's name in it."""
        contact.stub = None
        for document in contact.documents:
            document.rendered = None
        for payment in self.payments.values():
            if payment.target.contact is contact:
                payment.rendered = None
