"""An app that connects to the sandbox and calls it over HTTP, for the tests of the sandbox itself."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from tieout_sandbox import Sandbox

REDIRECT_URI = "http://127.0.0.1:1/callback"
SCOPES = (
    "openid profile email offline_access accounting.contacts.read accounting.settings.read accounting.invoices.read "
    "accounting.payments"
)


def basic_auth() -> str:
    return "Basic " + base64.b64encode(b"tieout-sandbox-app:sandbox-secret").decode()


@dataclass
class Caller:
    """An app that talks to the sandbox over HTTP, as small as can be."""

    sandbox: Sandbox
    http: aiohttp.ClientSession
    tokens: dict[str, Any] = field(default_factory=dict)
    tenant_id: str = ""

    def authorization_url(self, *, scope: str = SCOPES, state: str = "st", **more: str) -> str:
        params = {
            "response_type": "code",
            "client_id": "tieout-sandbox-app",
            "redirect_uri": REDIRECT_URI,
            "scope": scope,
            "state": state,
            **more,
        }
        return f"{self.sandbox.url}/identity/connect/authorize?{urlencode(params)}"

    async def consent(self, url: str, **body: object) -> dict[str, str]:
        """Let the control API be the browser; the answer is what came back to the redirect address."""
        answer = await self.control("POST", "consent", {"authorization_url": url, **body})
        return {key: values[0] for key, values in parse_qs(urlsplit(answer["redirect_to"]).query).items()}

    async def token(self, form: dict[str, str], *, basic: bool = True) -> tuple[int, dict[str, Any]]:
        credentials = {"client_id": "tieout-sandbox-app", "client_secret": "sandbox-secret"}
        body = form if basic else {**credentials, **form}
        headers = {"Authorization": basic_auth()} if basic else {}
        async with self.http.post(f"{self.sandbox.url}/connect/token", data=body, headers=headers) as response:
            return response.status, await response.json()

    async def connect(self, *, scope: str = SCOPES, **consent: object) -> None:
        """Go through consent with PKCE and keep the tokens and the first organisation."""
        verifier = secrets.token_urlsafe(48)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        url = self.authorization_url(scope=scope, code_challenge=digest, code_challenge_method="S256")
        back = await self.consent(url, **consent)
        form = {
            "grant_type": "authorization_code",
            "code": back["code"],
            "redirect_uri": REDIRECT_URI,
            "code_verifier": verifier,
        }
        status, self.tokens = await self.token(form)
        assert status == 200, self.tokens
        if not self.tenant_id:
            self.tenant_id = (await self.connections())[0]["tenantId"]

    def headers(self, **more: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.tokens['access_token']}",
            "xero-tenant-id": self.tenant_id,
            "Accept": "application/json",
            **more,
        }

    async def connections(self, query: str = "") -> list[dict[str, str]]:
        async with self.http.get(f"{self.sandbox.url}/connections{query}", headers=self.headers()) as response:
            assert response.status == 200
            return list(await response.json())

    async def get(
        self, path: str, params: dict[str, str] | None = None, **headers: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        url = f"{self.sandbox.url}/api.xro/2.0/{path}"
        async with self.http.get(url, params=params, headers=self.headers(**headers)) as response:
            return response, await response.read()

    async def rows(self, collection: str, params: dict[str, str] | None = None, **headers: str) -> list[dict[str, Any]]:
        response, _ = await self.get(collection, params, **headers)
        assert response.status == 200
        return list((await response.json())[collection])

    async def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        async with self.http.request(method, f"{self.sandbox.url}/sandbox/{path}", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return dict(answer)
