"""What each peer tells of its two readings, and when it made them; run in the peer's own environment."""

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

from third_party_flows import control

Seen = dict[str, dict[str, str]]
_began = time.perf_counter()
_told: dict[str, Any] = {}


def sandbox_now() -> datetime:
    """What time it is at Xero."""
    return datetime.fromisoformat(control("GET", "clock")["now"]).astimezone(UTC)


def through_the_proxy(configuration: Any) -> None:  # noqa: ANN401 - the SDK's, of an environment of its own
    """Have the official SDK reach Xero's hosts on this machine."""
    configuration.proxy, configuration.ssl_ca_cert = os.environ["HTTPS_PROXY"], os.environ["REQUESTS_CA_BUNDLE"]


def first(seen: Seen) -> None:
    """Everything was read once; from now on the books stand still, so that what is missing later is lost for good."""
    _told["wall"] = time.perf_counter() - _began
    _told["cpu"] = sum(os.times()[:4])
    _told["calls"] = control("GET", "requests?count=1&path=/api.xro/")["count"]
    _told["seen"] = seen
    control("POST", "churn", {"on": False})


def second(seen: Seen) -> None:
    """What was modified since was read, too."""
    for name, rows in seen.items():
        _told["seen"][name] |= rows
    sys.stdout.write(json.dumps(_told))
