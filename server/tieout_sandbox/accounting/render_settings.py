"""The organisation itself, its accounts, people and currencies as Xero writes them."""

import uuid
from typing import Any

from tieout_sandbox.accounting.render import Detail
from tieout_sandbox.accounting.wire import plain_day, plain_instant, pretty
from tieout_sandbox.books.documents import Account, Role
from tieout_sandbox.organisations import Currency, Member, Organisation
from tieout_sandbox.switches import Switches

_CLOSED = "CLOSED"
"""Xero says of the status only that it is ACTIVE where the organisation can be connected; the word is ours."""
_ACTIONS = (
    "CreateApprovedInvoice",
    "CreateDraftPurchaseOrder",
    "CreateApprovedBill",
    "AttachFilesIntoInvoice",
    "UseMulticurrency",
    "CreateDraftInvoice",
    "CreateRepeatingInvoice",
    "CreateRepeatingBill",
    "CreateSentQuote",
    "CreateInvoicePayment",
    "CreateApprovedPurchaseOrder",
    "CreateDraftQuote",
    "CreateDraftBill",
    "ApproveTransactionsBeforePeriodLockDate",
)
_ALLOWED = {
    Role.FINANCIALADVISER: frozenset(_ACTIONS),
    Role.STANDARD: frozenset(_ACTIONS) - {"ApproveTransactionsBeforePeriodLockDate"},
    Role.INVOICEONLY: frozenset(
        {"AttachFilesIntoInvoice", "CreateDraftInvoice", "CreateDraftQuote", "UseMulticurrency"}
    ),
}


def organisation_block(organisation: Organisation) -> str:
    """The organisation; lock dates only where they are set."""
    block: dict[str, Any] = {
        "Name": organisation.name,
        "LegalName": organisation.name,
        "PaysTax": True,
        "Version": organisation.country_code,
        "OrganisationType": "COMPANY",
        "BaseCurrency": organisation.base_currency,
        "CountryCode": organisation.country_code,
        "IsDemoCompany": organisation.is_demo,
        "OrganisationStatus": _CLOSED if organisation.is_closed else "ACTIVE",
        "FinancialYearEndDay": 31,
        "FinancialYearEndMonth": 3,
        "SalesTaxBasis": "PAYMENTS",
        "SalesTaxPeriod": "TWOMONTHS",
        "DefaultSalesTax": "Tax Exclusive",
        "DefaultPurchasesTax": "Tax Exclusive",
    }
    if organisation.period_lock_on is not None:
        block["PeriodLockDate"] = plain_day(organisation.period_lock_on)
    if organisation.end_of_year_lock_on is not None:
        block["EndOfYearLockDate"] = plain_day(organisation.end_of_year_lock_on)
    return pretty(
        block
        | {
            "CreatedDateUTC": plain_instant(organisation.created_at, offset=False),
            "OrganisationEntityType": "COMPANY",
            "Timezone": organisation.books.timezone,
            "ShortCode": organisation.short_code,
            "OrganisationID": organisation.id,
            "Edition": "BUSINESS",
            "Class": "DEMO" if organisation.is_demo else "PREMIUM",
            "Addresses": [],
            "Phones": [],
            "ExternalLinks": [],
            "PaymentTerms": {},
        }
    )


def action_blocks(role: Role) -> list[str]:
    """What a user with this role may do."""
    allowed = _ALLOWED.get(role, frozenset())
    return [pretty({"Name": name, "Status": "ALLOWED" if name in allowed else "NOT-ALLOWED"}) for name in _ACTIONS]


def account_block(account: Account) -> str:
    """An account: bank accounts leave SystemAccount out, others say that they are none (as recorded from Xero)."""
    is_bank = account.type == "BANK"
    block: dict[str, Any] = {"AccountID": account.id}
    if account.code is not None:
        block["Code"] = account.code
    block |= {
        "Name": account.name,
        "Status": account.status,
        "Type": account.type,
        "TaxType": account.tax_type,
        "Class": account.class_,
    }
    if not is_bank:
        block["SystemAccount"] = account.system_account
    block |= {"EnablePaymentsToAccount": account.takes_payments, "ShowInExpenseClaims": False}
    if is_bank:
        block["BankAccountNumber"] = account.bank_account_number
    block["BankAccountType"] = "BANK" if is_bank else "NONE"
    if is_bank:
        block["CurrencyCode"] = account.currency
    block |= {"ReportingCode": "", "HasAttachments": False, "UpdatedDateUTC": plain_instant(account.updated_at)}
    return pretty(block | {"AddToWatchlist": False})


def listed_user_id(member: Member, switches: Switches) -> str:
    """The UserID: the token's xero_userid, or another one that follows from it (fact sheet U12)."""
    user_id = member.user.id
    return user_id if switches.user_id_is_xero_userid else str(uuid.uuid5(uuid.NAMESPACE_OID, user_id))


def user_block(member: Member, detail: Detail, user_id: str) -> str:
    """A user; only the list tells the role."""
    block: dict[str, Any] = {
        "UserID": user_id,
        "EmailAddress": member.user.email,
        "FirstName": member.user.first_name,
        "LastName": member.user.last_name,
        "UpdatedDateUTC": plain_instant(member.updated_at),
        "IsSubscriber": member.is_subscriber,
    }
    return pretty(block if detail is Detail.SINGLE else block | {"OrganisationRole": member.role})


def currency_block(currency: Currency) -> str:
    """A currency, without its rate."""
    return pretty({"Code": currency.code, "Description": currency.description})
