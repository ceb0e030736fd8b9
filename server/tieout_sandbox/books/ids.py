"""Ids that follow from a seed: the same books have the same ids on every machine."""

import random

_VARIANT = "89ab"


class Ids:
    """An endless supply of version-4 UUIDs out of one seeded source."""

    def __init__(self, rng: random.Random) -> None:
        self._bits = rng.getrandbits

    def new(self) -> str:
        """The next id, lower case with hyphens."""
        number = self._bits(128)
        digits = f"{number:032x}"
        variant = _VARIANT[number & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def line_item_id(document_id: str, index: int) -> str:
    """The id of a document's n-th line: it follows from the document, so it need not be stored."""
    return f"{document_id[:-3]}{(int(document_id[-3:], 16) + index + 1) % 0x1000:03x}"
