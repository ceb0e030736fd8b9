"""Evidence as one zip file that opens without this service: a page to read, tables, and everything as JSON."""

import csv
import hashlib
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.reconciliations.arithmetic import lines_of
from tieout_server.reconciliations.proof import Account, Compared, Proof
from tieout_server.reconciliations.summary import kind, summary
from tieout_server.storage.discrepancies import Values

CHUNK_BYTES = 64 * 1024
MEDIA_TYPE = "application/zip"

_Row = Sequence[object]


class Pack(msgspec.Struct, frozen=True):
    """A finished zip file."""

    file_name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Of all bytes, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The bytes in order, at most `CHUNK_BYTES` at a time."""
        for start in range(0, len(self.content), CHUNK_BYTES):
            yield self.content[start : start + CHUNK_BYTES]


def pack(proof: Proof) -> Pack:
    """The evidence as a zip; the same proof makes the same bytes. A customer of 20,000 documents takes a second."""
    files = {
        "summary.html": summary(proof),
        "documents.json": _json([_as_json(account) for account in proof.accounts]),
        "ours.csv": _table(_SIDE, (_side(a, d, d.ours, d.ours_counts) for a, d in _documents(proof))),
        "xero.csv": _table(_SIDE, (_side(a, d, d.xero, d.xero_counts) for a, d in _documents(proof))),
        "arithmetic.csv": _table(_ARITHMETIC, _arithmetic(proof)),
        "timeline.json": _json(proof.timeline),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(_entry(name, proof.made_at), text.encode())
    return Pack(f"{_slug(proof.title)}-{proof.made_at:%Y-%m-%d}.zip", buffer.getvalue())


_SIDE = (
    "customer", "kind", "number", "id", "status", "issued_on", "due_on", "currency", "total", "paid", "credited",
    "open", "counts", "last_changed_in_xero", "read",
)  # fmt: skip
_ARITHMETIC = (
    "customer", "currency", "line", "kind", "issued_on", "status", "ours", "xero", "difference", "ours_so_far",
    "xero_so_far",
)  # fmt: skip


def _documents(proof: Proof) -> Iterator[tuple[Account, Compared]]:
    for account in proof.accounts:
        for document in account.documents:
            yield account, document


def _side(account: Account, document: Compared, values: Values | None, counts: Decimal) -> _Row:
    """A document as one side has it; without amounts where that side does not have it."""
    named = (account.customer, kind(document.entity), document.number, document.xero_id)
    if values is None:
        return (*named, "not there", "", "", document.currency, "", "", "", "", counts, "", "")
    amounts = (values.total, values.paid, values.credited, values.due, counts)
    days = (values.issued_on or "", document.due_on or "")
    return (*named, values.status, *days, document.currency, *amounts, values.xero_updated_at, values.read_at)


def _arithmetic(proof: Proof) -> Iterator[_Row]:
    for account in proof.accounts:
        of = account.customer, account.currency
        for line in lines_of(account):
            values = (line.document.xero or line.document.ours) if line.document else None
            which = kind(line.document.entity) if line.document else ""
            about = (line.text, which, (values and values.issued_on) or "", values.status if values else "")
            yield (*of, *about, line.ours, line.xero, line.difference, line.ours_so_far, line.xero_so_far)
        yield (*of, "Balance", "", "", "", account.ours, account.xero, account.difference, account.ours, account.xero)


def _as_json(account: Account) -> dict[str, object]:
    """An account with both balances; amounts are decimal strings, instants ISO 8601."""
    plain: dict[str, object] = msgspec.to_builtins(account, str_keys=True)
    plain["difference"] = str(account.difference)
    plain["documents"] = [
        {**msgspec.to_builtins(document), "difference": str(document.difference)} for document in account.documents
    ]
    return plain


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _table(heads: Sequence[str], rows: Iterable[_Row]) -> str:
    """CSV as spreadsheets read it: with a byte order mark, and no text that they would take for a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return f"\ufeff{text.getvalue()}"


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return str(value)


def _entry(name: str, at: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, at.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _slug(title: str) -> str:
    """The title as part of a file's name, plain ASCII."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or "evidence"
