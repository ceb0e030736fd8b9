"""An issuer of JWTs that really listens: its configuration, its keys, and tokens signed with them."""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, KeyParameters, OKPKey, RSAKey

Key = RSAKey | ECKey | OKPKey
AUDIENCE = "tieout"


@dataclass
class Issuer:
    """Keys that are published, a switch to be away, and what it was asked for."""

    url: str = ""
    keys: dict[str, Key] = field(default_factory=dict)
    says: str = ""
    """What it calls itself, where that is not its address."""
    is_away: bool = False
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it lets everybody wait."""
    asked: list[str] = field(default_factory=list)

    def add_key(self, key_id: str, kind: str = "RSA") -> Key:
        """Publish a new key."""
        named: KeyParameters = {"kid": key_id, "use": "sig"}
        match kind:
            case "EC":
                self.keys[key_id] = ECKey.generate_key("P-256", named)
            case "OKP":
                self.keys[key_id] = OKPKey.generate_key("Ed25519", named)
            case _:
                self.keys[key_id] = RSAKey.generate_key(2048, named)
        return self.keys[key_id]

    def token(self, key_id: str, algorithm: str = "RS256", *, key: Key | None = None, **claims: object) -> str:
        """A token of a reader for merchant m-1, unless the claims say something else; None leaves a claim out."""
        now = int(time.time())
        said: dict[str, object] = {
            "iss": self.url, "aud": AUDIENCE, "sub": "console", "iat": now, "nbf": now, "exp": now + 300,
            "tieout_roles": ["reader"], "tieout_merchants": ["m-1"],
        } | claims  # fmt: skip
        header = {"alg": algorithm, "kid": key_id}
        body = {name: value for name, value in said.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # EdDSA by its old name
            return jwt.encode(header, body, key or self.keys[key_id], algorithms=[algorithm])

    async def configuration(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.answers.wait()
        if self.is_away:
            return web.Response(status=503)
        return web.json_response({"issuer": self.says or self.url, "jwks_uri": f"{self.url}/keys"})

    async def published(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.answers.wait()
        if self.is_away:
            return web.Response(status=503)
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys.values()]})


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """An issuer on a free port, without keys."""
    issuer, app = Issuer(), web.Application()
    issuer.answers.set()
    app.router.add_get("/.well-known/openid-configuration", issuer.configuration)
    app.router.add_get("/keys", issuer.published)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        issuer.answers.set()
        await runner.cleanup()
