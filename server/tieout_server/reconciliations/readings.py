"""How an organisation's figures are made, learnt from a few contacts whose figures are read at this very moment.

What the mirror has of a contact's figure may be older than its documents: no balance moves a contact's date in Xero.
Held against newer documents, such a figure would tell of a reading that nobody uses.
"""

from tieout_server.ledger.books import IDS_AT_ONCE
from tieout_server.ledger.documents import Contact, Entity
from tieout_server.ledger.links import Link
from tieout_server.ledger.money import to_units
from tieout_server.reconciliations.afresh import Afresh
from tieout_server.reconciliations.convention import Told
from tieout_server.reconciliations.overview import agreeing_of
from tieout_server.reconciliations.take_in import base_currency
from tieout_server.storage import open_items
from tieout_server.storage.database import Database


async def learn(database: Database, link: Link, afresh: Afresh) -> Told:
    """What contacts tell that have credits or foreign invoices; one call, or none where there are no such contacts.

    Raises what `Books` does.
    """
    async with database.read() as tx:
        telling = await open_items.telling(tx, link.id, base_currency(link), IDS_AT_ONCE)
    found = await afresh.by_ids(Entity.CONTACTS, [one.xero_contact_id for one in telling])
    figures = {one.xero_contact_id: one.stated_outstanding for one in found if isinstance(one, Contact)}
    told = Told()
    for one in telling:
        if (figure := figures.get(one.xero_contact_id)) is not None:
            told.add(one.xero_contact_id, agreeing_of(to_units(figure), one.sums))
    return told
