"""What nobody outside Xero knows for sure: each open question is a switch with the answer we assume."""

from dataclasses import dataclass


@dataclass(slots=True)
class Switches:
    """The open questions of Xero's behaviour that matter here; set them at any time, and be right under both."""

    balances_in_base_currency: bool = True
    """Contact balances are converted to the base currency (Xero's Contacts page says so, its OpenAPI file says raw)."""
    balances_net_credits: bool = True
    """AccountsReceivable.Outstanding nets unapplied credits; Overdue never does (inferred from Xero's examples)."""
    allocations_move_updated: bool = True
    """Adding or removing an allocation moves UpdatedDateUTC of invoice and credit (believed, undocumented)."""
    due_date_of_part_paid_moves_updated: bool = False
    """A new due date on a part-paid invoice moves its UpdatedDateUTC (Xero, requests: it does not)."""
    several_organisations_per_consent: bool = True
    """The consent page lets a user choose more than one organisation (for some apps only: undocumented)."""
