"""The SDK, through its own settings for proxy and certificate, and how it tells of what went wrong."""

import os
from collections.abc import Callable
from datetime import date
from typing import Any

from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.api_client.oauth2 import OAuth2Token
from xero_python.exceptions import HTTPStatusException
from xero_python.identity import IdentityApi

from third_party_flows import CLIENT_ID, CLIENT_SECRET

TODAY = date(2026, 11, 22)
EVERY: dict[str, object] = {"page": 1, "page_size": 1000}
tokens: dict[str, Any] = {}
token = OAuth2Token(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
configuration = Configuration(oauth2_token=token)
configuration.proxy, configuration.ssl_ca_cert = os.environ["HTTPS_PROXY"], os.environ["REQUESTS_CA_BUNDLE"]
client = ApiClient(configuration, pool_threads=1, oauth2_token_saver=tokens.update, oauth2_token_getter=lambda: tokens)
xero, identity = AccountingApi(client), IdentityApi(client)
made: dict[str, str] = {}
"""Ids that later flows go on with."""


def tenant() -> str:
    return made["tenant"]


def refused(call: Callable[[], object]) -> dict[str, object]:
    """How the SDK tells of an error."""
    try:
        call()
    except HTTPStatusException as error:
        headers = {name.lower(): value for name, value in dict(error.headers).items()}
        told = {"status": error.http_resp.status, "reason": str(error.reason), "body": str(error.http_resp.text)}
        return told | {"kind": type(error).__name__, "retry_after": headers.get("retry-after"),
                       "problem": headers.get("x-rate-limit-problem")}  # fmt: skip
    return {"kind": "nothing"}


def stumbled(call: Callable[[], object]) -> str:
    """What the SDK trips over in an answer with 200."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return "read"
