"""The page of an evidence pack that a bookkeeper reads: what differs, why, and how the balances come about.

It stands alone: no script, nothing loaded from elsewhere, light and dark, on paper too. Links lead into Xero.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from importlib import resources
from string import Template

from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import Owner
from tieout_server.ledger.money import readable
from tieout_server.reconciliations import sentences
from tieout_server.reconciliations.arithmetic import ArithmeticLine, lines_of
from tieout_server.reconciliations.chart import chart
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.messages import BalanceSource
from tieout_server.reconciliations.proof import Account, Compared, Moment, Proof
from tieout_server.storage.discrepancies import Values

_FILES = resources.files(__package__)
_TEMPLATE = Template((_FILES / "summary.html").read_text("utf-8"))
_STYLE = (_FILES / "summary.css").read_text("utf-8")

MOST_ROWS = 300
"""Of a table on the page; the files beside it have all."""
CAUSES = {
    Cause.MISSING_DOCUMENT: "A document that we did not have",
    Cause.STALE_DOCUMENT: "A document that changed in Xero",
    Cause.MISSED_DELETION: "A document that was voided or deleted in Xero",
    Cause.UNALLOCATED_CREDIT: "A credit that only one side applies",
    Cause.ALLOCATION_ON_OTHER_CONTACT: "A credit on an invoice of another contact",
    Cause.ROUNDING: "Rounding",
    Cause.FOREIGN_CURRENCY_MIX: "Currencies that are mixed in Xero's figure",
    Cause.FUTURE_DATED: "A document dated in the future",
    Cause.DRAFT_COUNTED: "A draft that Xero's figure counts",
    Cause.PAYMENT_REMOVED_IN_XERO: "A payment that was removed in Xero",
    Cause.UNEXPLAINED: "Not explained by anything that Xero shows",
}
_SOURCES = {
    BalanceSource.CONTACT: "the balance that Xero states with the contact",
    BalanceSource.OPEN_ITEMS: "the sum of the open documents, read afresh from Xero",
    BalanceSource.AGED_RECEIVABLES: 'Xero\'s report "Aged Receivables by Contact"',
}
_OWNERS = {
    Owner.MERCHANT: "Somebody who works in Xero must act.",
    Owner.OPERATOR: "Whoever runs this service must act.",
    Owner.XERO: "Xero must act; there is nothing to do here.",
    Owner.NOBODY: "Nobody has to do anything.",
}
FILES = (
    ("documents.json", "every document that counts, with what each side has of it"),
    ("ours.csv", "our side of them, as a table"),
    ("xero.csv", "Xero's side of them, as a table"),
    ("arithmetic.csv", "how both balances come about, line by line"),
    ("timeline.json", "what was known and done when"),
)


def summary(proof: Proof) -> str:
    """The page as HTML."""
    count = len(proof.accounts)
    return _TEMPLATE.substitute(
        title=escape(f"{proof.title}: ours and Xero's balance"),
        style=_STYLE,
        heading=escape(f"{proof.title}: our balance and Xero's"),
        from_line=escape(f"Organisation in Xero: {proof.organisation}. Made on {_instant(proof.made_at)}."),
        body="\n".join(
            [
                *_case(proof),
                *(_account(account, proof.made_at, alone=count == 1) for account in proof.accounts),
                _timeline(proof.timeline),
                _files(),
            ]
        ),
        footer="Ours is what this service has read of the documents in Xero; Xero's is what Xero itself states. "
        "A balance is what is due on authorised invoices, less what is left of credit notes, overpayments and "
        "prepayments, for one customer in one currency. Times are UTC.",
    )


def _case(proof: Proof) -> Iterable[str]:
    if proof.description or proof.finding:
        said = f"<blockquote>{escape(proof.description)}</blockquote>" if proof.description else ""
        yield f"<section><h2>What was reported</h2>{said}<p>{escape(proof.finding)}</p></section>"


def _account(account: Account, made_at: datetime, *, alone: bool) -> str:
    heading = f"Balance in {account.currency}" if alone else f"{account.customer}, {account.currency}"
    link = f' <a href="{escape(account.xero_url)}">Open in Xero</a>' if account.xero_url else ""
    return (
        f"<section><h2>{escape(heading)}</h2>{_verdict(account)}{_figures(account)}{_sentences(account, link)}"
        f"{_over_time(account, made_at)}{_causes(account)}{_differing(account)}{_arithmetic(account)}</section>"
    )


def _verdict(account: Account) -> str:
    if not account.is_compared:
        return '<p class="verdict off">The side of Xero is not known: it could not be asked</p>'
    if account.difference:
        side = "more" if account.difference > 0 else "less"
        by = _money(abs(account.difference), account.currency)
        return f'<p class="verdict off">Off balance: ours is {by} {side} than Xero&#x27;s</p>'
    return '<p class="verdict agrees">Both sides agree</p>'


def _figures(account: Account) -> str:
    figures = [("Ours", account.ours)]
    if account.is_compared:
        figures += [("Xero's", account.xero), ("Difference", account.difference)]
    pairs = (f"<div><dt>{name}</dt><dd>{_money(amount, account.currency)}</dd></div>" for name, amount in figures)
    return f'<dl class="figures">{"".join(pairs)}</dl>'


def _sentences(account: Account, link: str) -> str:
    found = account.discrepancy
    said = []
    if found is not None:
        said.append(escape(found.sentence))
        if not found.is_over and found.owner:
            said.append(escape(_OWNERS.get(Owner(found.owner), "")))
    how = ""
    if account.is_compared:
        source = _SOURCES[BalanceSource(account.source)]
        how = f"Both sides were last compared on {_instant(account.as_of)}; Xero's is {source}."
    return f'<p>{" ".join(said)}{link}</p><p class="note">{how}</p>'


def _over_time(account: Account, made_at: datetime) -> str:
    drawn = chart(account, made_at)
    if not drawn:
        return ""
    legend = '<ul class="legend" aria-hidden="true"><li class="ours">Ours</li><li class="xero">Xero&#x27;s</li></ul>'
    return f"<h3>Over time</h3>{legend}{drawn}"


def _causes(account: Account) -> str:
    found = account.discrepancy
    if found is None or not found.causes:
        return ""
    rows = [
        (_cause(share.cause), escape(share.sentence), _money(share.amount, account.currency)) for share in found.causes
    ]
    excluded = ", ".join(_within(_cause(cause)) for cause in found.ruled_out)
    note = f'<p class="note">Examined, and not the cause: {excluded}.</p>' if excluded else ""
    table = _table("Why", (("Cause", "text"), ("What it is", "text"), ("Part", "number")), rows)
    return f"<h3>Why</h3>{table}{note}"


def _differing(account: Account) -> str:
    found = [document for document in account.documents if document.cause]
    if not found:
        return ""
    heads = (("Document", ""), ("Cause", "text"), ("Ours", "text"), ("Xero's", "text"), ("Difference", "number"))
    rows = [
        (
            _name(one),
            _cause(one.cause),
            _values(one, one.ours),
            _values(one, one.xero),
            _money(one.part, account.currency),
        )
        for one in found[:MOST_ROWS]
    ]
    heading = "Documents that make the difference" if account.difference else "Documents that made the difference"
    return f"<h3>{heading}</h3>{_table(heading, heads, rows)}{_more(found)}"


def _arithmetic(account: Account) -> str:
    lines = lines_of(account)
    heads = (
        ("Line", ""),
        ("Date", "day"),
        ("Status", ""),
        ("Ours", "number"),
        ("Xero's", "number"),
        ("Difference", "number"),
    )
    rows = [_line(line) for line in lines[:MOST_ROWS]]
    marks = ["differs" if line.difference else "" for line in lines[:MOST_ROWS]]
    total = ("Balance", "", "", *(_amount(amount) for amount in (account.ours, account.xero, account.difference)))
    heading = f"How the balances come about, in {account.currency}"
    return f"<h3>{escape(heading)}</h3>{_table(heading, heads, rows, marks=marks, total=total)}{_more(lines)}"


def _line(line: ArithmeticLine) -> tuple[str, ...]:
    amounts = tuple(_amount(amount) for amount in (line.ours, line.xero, line.difference))
    if line.document is None:
        return (escape(line.text), "", "", *amounts)
    values = line.document.xero or line.document.ours
    on = f"{values.issued_on:%d %b %Y}" if values and values.issued_on else ""
    return (_name(line.document), on, escape(values.status.capitalize() if values else ""), *amounts)


def _timeline(moments: Sequence[Moment]) -> str:
    latest = list(moments)[-MOST_ROWS:]
    rows = (
        f'<li><time datetime="{moment.at.isoformat()}">{_instant(moment.at)}</time>'
        f"<span>{escape(moment.sentence)}</span></li>"
        for moment in latest
    )
    return f'<section><h2>What was known when</h2><ol class="timeline">{"".join(rows)}</ol></section>'


def _files() -> str:
    rows = "".join(f"<li><code>{name}</code>: {escape(what)}</li>" for name, what in FILES)
    return f'<section><h2>In this pack</h2><ul class="files">{rows}</ul></section>'


def _table(
    name: str,
    heads: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    *,
    marks: Sequence[str] = (),
    total: Sequence[str] = (),
) -> str:
    """A table of cells that are HTML already; `name` is read out, `heads` names each column and its class."""
    head = "".join(f'<th scope="col" class="{style}">{name}</th>' for name, style in heads)
    styles = [style for _, style in heads]
    body = "".join(
        f'<tr class="{mark}">{_cells(row, styles)}</tr>'
        for row, mark in zip(rows, marks or [""] * len(rows), strict=True)
    )
    foot = f"<tfoot><tr>{_cells(total, styles)}</tr></tfoot>" if total else ""
    return (
        f'<div class="wide" role="region" aria-label="{escape(name)}" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table></div>"
    )


def _cells(row: Sequence[str], styles: Sequence[str]) -> str:
    return "".join(f'<td class="{style}">{cell}</td>' for cell, style in zip(row, styles, strict=True))


def kind(entity: Entity) -> str:
    """What a document is called."""
    return sentences.KINDS.get(entity, "document").capitalize()


def _name(document: Compared) -> str:
    text = escape(f"{kind(document.entity)} {document.number}".strip())
    return f'<a href="{escape(document.xero_url)}">{text}</a>' if document.xero_url else f"<span>{text}</span>"


def standing(document: Compared, values: Values) -> str:
    """How a document stands on one side, as part of a sentence."""
    what = "due" if document.entity is Entity.INVOICES else "left"
    due, total = (readable(amount, document.currency) for amount in (values.due, values.total))
    return f"{values.status.lower()}, {due} {what} of {total}"


def _values(document: Compared, values: Values | None) -> str:
    if values is None:
        return "Not there"
    words = standing(document, values)
    return escape(f"{words[:1].upper()}{words[1:]}")


def _cause(cause: str) -> str:
    return escape(CAUSES.get(Cause(cause), cause))


def _within(words: str) -> str:
    """The same words inside a sentence."""
    return f"{words[:1].lower()}{words[1:]}"


def _more(rows: Sequence[object]) -> str:
    rest = len(rows) - MOST_ROWS
    return f'<p class="note">And {rest:,} more in the files.</p>' if rest > 0 else ""


def _amount(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def _money(amount: Decimal, currency: str) -> str:
    return escape(readable(amount, currency))


def _instant(at: datetime) -> str:
    return f"{at.day} {at:%b %Y, %H:%M:%S} UTC"
