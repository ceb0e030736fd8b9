"""The high-volume threshold: what may not be asked of very many records at once (Xero, each endpoint's page)."""

from tieout_sandbox.accounting.collections import Collection
from tieout_sandbox.accounting.query import Query
from tieout_sandbox.accounting.where import names_in


class TooManyRecordsError(Exception):
    """The request would have to go through, or answer with, more records than Xero allows."""


def check_volume(collection: Collection, query: Query, count: int, threshold: int) -> None:
    """Refuse an unpaged list, or a filter or order that is not optimised, over more records than the threshold.

    Args:
        collection: what is asked for; those without optimised fields have no threshold.
        query: how.
        count: how many records there are before `where`, after If-Modified-Since and lists of ids.
        threshold: 100,000 at Xero.

    Raises:
        TooManyRecordsError: the message is for a person; Xero's own is undocumented.
        QueryParseError: the filter cannot be read.
    """
    if collection.optimised is None or count <= threshold:
        return
    if query.page is None:
        raise TooManyRecordsError(f"More than {threshold} records: ask for pages")
    names, joined = names_in(query.where)
    key = collection.key.lower()
    if names - collection.optimised - {key} or (joined and names - collection.optimised_or - {key}):
        raise TooManyRecordsError(f"More than {threshold} records: this where is not optimised")
    steps = {step.split()[0].lower() for step in query.order.split(",") if step.strip()}
    if steps - collection.optimised_order - {key}:
        raise TooManyRecordsError(f"More than {threshold} records: this order is not optimised")
