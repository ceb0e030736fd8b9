"""For the scripts that drive a client written in Python: a person's part in it, and a record of what was seen.

It runs in the client's environment, so it needs nothing but Python.
"""

import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

SANDBOX_URL = os.environ["SANDBOX_URL"]
CLIENT_ID, CLIENT_SECRET = "tieout-sandbox-app", "sandbox-secret"
REDIRECT_URI = "https://localhost:1/callback"
SCOPES = [
    "openid", "profile", "email", "offline_access", "accounting.contacts", "accounting.settings.read",
    "accounting.invoices", "accounting.payments", "accounting.banktransactions", "accounting.reports.aged.read",
]  # fmt: skip


def main(*flows: Callable[[], object]) -> None:
    """Go through these flows, named as their functions are, and print what each returned, or its error."""
    seen: dict[str, object] = {}
    for each in flows:
        try:
            seen[each.__name__] = {"facts": each()}
        except Exception:  # noqa: BLE001 whatever the client does is a finding, and the other flows go on
            seen[each.__name__] = {"error": traceback.format_exc()}
    sys.stdout.write("\n" + json.dumps(seen, default=str) + "\n")


def control(method: str, path: str = "", body: object = None) -> Any:  # noqa: ANN401 JSON
    """Ask the sandbox's control API for something."""
    request = urllib.request.Request(  # noqa: S310 the sandbox
        f"{SANDBOX_URL}/sandbox/{path}".rstrip("/"),
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 the sandbox
        return json.load(answer)


def consented(authorization_url: str, **choices: object) -> str:
    """Consent as a person would; the answer is the address to which the browser is sent back."""
    return str(control("POST", "consent", {"authorization_url": authorization_url, **choices})["redirect_to"])


def authorization_url(scopes: list[str] = SCOPES) -> str:
    """For a client that leaves the consent to its user."""
    asked = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": REDIRECT_URI, "state": "st"}
    return "https://login.xero.com/identity/connect/authorize?" + urlencode(asked | {"scope": " ".join(scopes)})


def exchanged(redirected_to: str) -> dict[str, Any]:
    """What the token endpoint gives for the code of a consent, for a client that leaves that to its user."""
    code = parse_qs(urlsplit(redirected_to).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
    body = urlencode(form | {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}).encode()
    with urllib.request.urlopen(f"{SANDBOX_URL}/connect/token", body) as answer:  # noqa: S310 the sandbox
        return dict(json.load(answer))


def first_organisation() -> str:
    """The id of the organisation that everybody here may connect."""
    return str(control("GET")["organisations"][0]["id"])


def minute_limit(calls: int) -> None:
    """How many calls a minute Xero grants from now on."""
    control("POST", "limits", {"minute": calls})


def advance(seconds: float) -> None:
    """Let the sandbox's time pass."""
    control("POST", "clock", {"advance_seconds": seconds})
