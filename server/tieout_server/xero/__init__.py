"""Xero: its identity service and its Accounting API, behind the protocols of `ledger.books`."""
