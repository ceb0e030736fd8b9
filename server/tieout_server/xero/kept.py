"""What one process keeps of an organisation's limits for the process that is its home next."""

from datetime import datetime

import msgspec

from tieout_server.xero.windows import KeptDay


class Kept(msgspec.Struct, frozen=True):
    """What is known of an organisation's limits; seconds count from `at`."""

    at: datetime
    minute: list[float]
    day: KeptDay | None
    blocked: float
    lingering: list[float]
    """Until when each call goes on, of those that Xero may still work on."""
    is_all: bool
    """Whether no call was made after it was kept."""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Kept).decode
