"""A Xero for your laptop: identity, Accounting API, limits and made-up books that add up.

In a test: `async with tieout_sandbox.serve(SandboxSettings(contacts=20, invoices=100)) as sandbox: …`.
"""

from tieout_sandbox.books.documents import CreditKind, InvoiceType, Role, Status
from tieout_sandbox.faults import FaultKind, FaultRule
from tieout_sandbox.limits import Quota, Tier
from tieout_sandbox.server import Sandbox, make_app, make_sandbox, serve
from tieout_sandbox.settings import App, SandboxSettings
from tieout_sandbox.switches import Switches

__all__ = [
    "App",
    "CreditKind",
    "FaultKind",
    "FaultRule",
    "InvoiceType",
    "Quota",
    "Role",
    "Sandbox",
    "SandboxSettings",
    "Status",
    "Switches",
    "Tier",
    "make_app",
    "make_sandbox",
    "serve",
]
