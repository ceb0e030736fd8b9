"""tap-xero as its users run it: discovery, a sync of everything, and one from the state that the first one left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import reading

from third_party_flows import CLIENT_ID, CLIENT_SECRET, authorization_url, consented, exchanged, first_organisation

TAP = """
import os, sys, certifi
certifi.where = lambda: os.environ["REQUESTS_CA_BUNDLE"]  # a request that is sent prepared does not look there itself
import tap_xero
sys.argv[0] = "tap-xero"
tap_xero.main()
"""
CONFIG, CATALOG, STATE = Path("config.json"), Path("catalog.json"), Path("state.json")
KEYS = {
    "contacts": "ContactID",
    "invoices": "InvoiceID",
    "payments": "PaymentID",
    "credit_notes": "CreditNoteID",
    "overpayments": "OverpaymentID",
    "prepayments": "PrepaymentID",
}


def tap(*options: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-c", TAP, "--config", str(CONFIG), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def discover() -> None:
    """Write its configuration and its catalogue with our streams selected."""
    given: dict[str, Any] = {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "tenant_id": first_organisation(),
        "refresh_token": exchanged(consented(authorization_url()))["refresh_token"],
        "start_date": "2015-01-01T00:00:00Z", "include_archived_contacts": "true",
    }  # fmt: skip
    CONFIG.write_text(json.dumps(given))
    catalog = json.loads(tap("--discover"))
    for stream in catalog["streams"]:
        for found in stream["metadata"]:
            found["metadata"]["selected"] = stream["tap_stream_id"] in KEYS
    CATALOG.write_text(json.dumps(catalog))


def synced(*options: str) -> dict[str, dict[str, str]]:
    """The records by stream and id; the last state that was told is kept for the next time."""
    seen: dict[str, dict[str, str]] = {name: {} for name in KEYS}
    for line in tap("--catalog", str(CATALOG), *options).splitlines():
        message = json.loads(line)
        if message["type"] == "RECORD":
            row, name = message["record"], message["stream"]
            seen[name][row[KEYS[name]]] = row["UpdatedDateUTC"]
        elif message["type"] == "STATE":
            STATE.write_text(json.dumps(message["value"]))
    return seen


discover()
reading.first(synced())
reading.second(synced("--state", str(STATE)))
