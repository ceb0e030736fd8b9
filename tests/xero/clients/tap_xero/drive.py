"""tap-xero as its users run it: what the command `tap-xero` does, with files for its configuration and state."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from third_party_flows import (
    CLIENT_ID,
    CLIENT_SECRET,
    advance,
    authorization_url,
    consented,
    control,
    exchanged,
    first_organisation,
    main,
)

TAP = """
import os, sys, certifi
certifi.where = lambda: os.environ["REQUESTS_CA_BUNDLE"]  # a request that is sent prepared does not look there itself
import tap_xero
sys.argv[0] = "tap-xero"
tap_xero.main()
"""
CONFIG, CATALOG, STATE = Path("config.json"), Path("catalog.json"), Path("state.json")
STREAMS = frozenset(
    {
        "accounts", "bank_transactions", "contacts", "credit_notes", "currencies", "invoices", "organisations",
        "overpayments", "payments", "prepayments", "users",
    }
)  # fmt: skip
"""Those of the tap's streams that concern receivables."""


def discovery() -> object:
    """`--discover` renews the token and reads the currencies before it says which streams there are."""
    given = exchanged(consented(authorization_url()))["refresh_token"]
    config = {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": given,
        "tenant_id": first_organisation(), "start_date": "2020-01-01T00:00:00Z", "include_archived_contacts": "true",
    }  # fmt: skip
    CONFIG.write_text(json.dumps(config))
    catalog = json.loads(_tap("--discover").stdout)
    CATALOG.write_text(json.dumps(_selected(catalog, STREAMS)))
    return {
        "streams": {stream["tap_stream_id"]: stream["key_properties"] for stream in catalog["streams"]},
        "token_rotated": json.loads(CONFIG.read_text())["refresh_token"] != given,
    }


def full_sync() -> object:
    """Everything since the beginning, in pages of 100."""
    return _synced("--catalog", str(CATALOG))


def incremental_sync() -> object:
    """What changed since the state that the full sync left."""
    advance(60)
    books = f"books/{first_organisation()}"
    contact = control("POST", f"{books}/create_contact", {"name": "Came Later Ltd"})["id"]
    invoice = control("POST", f"{books}/create_invoice", {"contact_id": contact, "total": "115.00"})["id"]
    payment = control("POST", f"{books}/pay", {"invoice_id": invoice, "amount": "15.00"})["id"]
    changed = {"contacts": contact, "invoices": invoice, "payments": payment}
    return {"changed": changed, "seen": _synced("--catalog", str(CATALOG), "--state", str(STATE))}


def errors() -> object:
    """A minute limit, over which it sleeps for as long as it is told; a vanished organisation; a revoked token."""
    accounts = Path("accounts.json")
    accounts.write_text(json.dumps(_selected(json.loads(CATALOG.read_text()), {"accounts"})))
    control("POST", "faults", {"kind": "limit_minute", "path": "/Accounts", "retry_after": "1"})
    limited = _tap("--catalog", str(accounts))
    control("POST", f"organisations/{first_organisation()}/disconnect")
    forbidden = _tap("--catalog", str(accounts), check=False)
    control("POST", f"users/{control('GET')['users'][0]['email']}/revoke")
    revoked = _tap("--discover", check=False)
    return {
        "slept": "sleeping for 1 seconds" in limited.stderr,
        "accounts_after_sleep": len(_records(limited.stdout)["accounts"]),
        "forbidden": _last_words(forbidden),
        "revoked": _last_words(revoked),
    }


def _synced(*options: str) -> dict[str, list[dict[str, Any]]]:
    """The records by stream; the last state that was told is kept for the next time."""
    out = _tap(*options).stdout
    states = [line for line in out.splitlines() if '"type": "STATE"' in line]
    STATE.write_text(json.dumps(json.loads(states[-1])["value"]))
    return _records(out)


def _records(out: str) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for message in map(json.loads, out.splitlines()):
        if message["type"] == "RECORD":
            found[message["stream"]].append(message["record"])
    return found


def _selected(catalog: dict[str, Any], streams: set[str] | frozenset[str]) -> dict[str, Any]:
    for stream in catalog["streams"]:
        for found in stream["metadata"]:
            found["metadata"]["selected"] = stream["tap_stream_id"] in streams
    return catalog


def _tap(*options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TAP, "--config", str(CONFIG), *options]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if check and ran.returncode:
        raise RuntimeError(ran.stderr[-3_000:])
    return ran


def _last_words(ran: subprocess.CompletedProcess[str]) -> str:
    return f"{ran.returncode}: {ran.stderr.strip().splitlines()[-1]}"


if __name__ == "__main__":
    main(discovery, full_sync, incremental_sync, errors)
