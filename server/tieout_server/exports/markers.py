"""Markers: 12 characters by which a record of ours is found again in Xero, whatever became of the answer."""

import re
import secrets
from collections.abc import Iterable

REFERENCE = 50
"""Characters of a payment's reference (UNSURE register, U13: what is safe)."""
LONG_REFERENCE = 255
"""Characters of the reference of an invoice, a credit note or a bank transaction (Xero, Invoices)."""

_PREFIX = "TIE"
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no two of them look alike."""
_LENGTH = 9
"""45 random bits: two markers of a connection with a million payments are alike once in 70."""
_MARKER = re.compile(rf"(?<![0-9A-Za-z]){_PREFIX}[{_DIGITS}]{{{_LENGTH}}}(?![0-9A-Za-z])")


def fresh() -> str:
    """A marker that nothing has yet."""
    return _PREFIX + "".join(secrets.choice(_DIGITS) for _ in range(_LENGTH))


def marked(marker: str, text: str, longest: int = REFERENCE) -> str:
    """A text that begins with the marker, and is cut to what Xero takes."""
    return f"{marker} {' '.join(text.split())}"[:longest].rstrip()


def within(texts: Iterable[str]) -> frozenset[str]:
    """All that look like markers in these texts."""
    return frozenset(found for text in texts for found in _MARKER.findall(text))
