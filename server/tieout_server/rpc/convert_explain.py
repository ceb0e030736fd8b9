"""Why a contact is or is not here, as messages."""

from tieout.v1 import sync_service_pb2 as pb
from tieout_server.ledger.documents import Contact
from tieout_server.rpc.convert import timestamp
from tieout_server.syncs.explain import Explanation


def explanation(found: Explanation) -> pb.ContactExplanation:
    """Why one contact is or is not here."""
    return pb.ContactExplanation(
        verdict=pb.ContactVerdict.Value(f"CONTACT_VERDICT_{found.verdict}"),
        sentence=found.sentence,
        customer_id=found.customer_id,
        xero=None if found.contact is None else _stated(found.contact),
        asked_xero=found.asked_xero,
        as_of=timestamp(found.as_of),
    )


def _stated(contact: Contact) -> pb.XeroContact:
    return pb.XeroContact(
        xero_contact_id=contact.xero_contact_id,
        name=contact.name,
        contact_number=contact.contact_number,
        email=contact.email,
        status=contact.status,
        is_customer=contact.is_customer,
        is_supplier=contact.is_supplier,
        merged_to_xero_contact_id=contact.merged_into,
        xero_updated_at=timestamp(contact.updated_at),
    )
