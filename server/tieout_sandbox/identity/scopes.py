"""The scopes an app can ask for, in words, and which one each endpoint wants (Xero, scopes and granular scopes FAQ)."""

IDENTITY_SCOPES = {
    "openid": "Know who you are",
    "profile": "See your name",
    "email": "See your email address",
    "offline_access": "Stay connected while you are away",
}
_GRANULAR = {
    "accounting.contacts": "contacts",
    "accounting.settings": "organisation settings, accounts and users",
    "accounting.invoices": "invoices and credit notes",
    "accounting.payments": "payments, overpayments and prepayments",
    "accounting.banktransactions": "bank transactions",
    "accounting.manualjournals": "manual journals",
    "accounting.attachments": "attached files",
}
_READ_ONLY = {
    "accounting.reports.aged.read": "the aged receivables report",
    "accounting.reports.balancesheet.read": "the balance sheet",
    "accounting.reports.banksummary.read": "the bank summary",
    "accounting.reports.budgetsummary.read": "the budget summary",
    "accounting.reports.executivesummary.read": "the executive summary",
    "accounting.reports.profitandloss.read": "the profit and loss report",
    "accounting.reports.taxreports.read": "tax reports",
    "accounting.reports.tenninetynine.read": "1099 reports",
    "accounting.reports.trialbalance.read": "the trial balance",
    "accounting.budgets.read": "budgets",
    "accounting.journals.read": "journals",
}
_OF_OTHER_APIS = {"assets": "assets", "files": "files", "projects": "projects"}
"""Given as at Xero, so that apps which ask for them can be tried; there is nothing here that they open."""
BROAD_SCOPES = frozenset({"accounting.transactions", "accounting.transactions.read", "accounting.reports.read"})
"""Given only to apps made before 2 March 2026."""

_BROAD_OF = {
    "accounting.invoices": "accounting.transactions",
    "accounting.payments": "accounting.transactions",
    "accounting.banktransactions": "accounting.transactions",
}
_ENDPOINTS = {
    "organisation": "accounting.settings",
    "organisations": "accounting.settings",
    "users": "accounting.settings",
    "accounts": "accounting.settings",
    "currencies": "accounting.settings",
    "contacts": "accounting.contacts",
    "invoices": "accounting.invoices",
    "creditnotes": "accounting.invoices",
    "payments": "accounting.payments",
    "prepayments": "accounting.payments",
    "overpayments": "accounting.payments",
    "batchpayments": "accounting.payments",
    "banktransactions": "accounting.banktransactions",
    "journals": "accounting.journals",
}
_REPORTS = frozenset({"accounting.reports.aged.read", "accounting.reports.read"})


def _all_in_words() -> dict[str, str]:
    words = dict(IDENTITY_SCOPES)
    for scope, subject in (_GRANULAR | _OF_OTHER_APIS).items():
        words[scope] = f"View and manage {subject}"
        words[f"{scope}.read"] = f"View {subject}"
    words |= {scope: f"View {subject}" for scope, subject in _READ_ONLY.items()}
    words["paymentservices"] = "View and manage payment services"
    words["accounting.transactions"] = "View and manage all business transactions"
    words["accounting.transactions.read"] = "View all business transactions"
    words["accounting.reports.read"] = "View all reports"
    return words


SCOPES_IN_WORDS = _all_in_words()
"""Every scope, and what the consent page says it allows."""


def scopes_for(endpoint: str, *, writes: bool) -> frozenset[str]:
    """The scopes of which one is needed for an endpoint (lower case); nobody writes reports."""
    if endpoint == "reports":
        return frozenset() if writes else _REPORTS
    granular = _ENDPOINTS[endpoint]
    names = {granular}
    if granular in _BROAD_OF:
        names.add(_BROAD_OF[granular])
    return frozenset(names if writes else names | {f"{name}.read" for name in names})
