"""Consent, tokens and memberships against the sandbox, whose identity service signs and rotates as Xero's does."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import parse_qs, parse_qsl, urlsplit

import aiohttp
import pytest
from pydantic import SecretStr

import tieout_sandbox
from tieout_sandbox import FaultKind, FaultRule, Sandbox, SandboxSettings
from tieout_sandbox.identity import tokens as sandbox_tokens
from tieout_server.clock import SystemClock
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    ConsentExpiredError,
    CredentialsExpiredError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import TokenSet
from tieout_server.settings import Settings
from tieout_server.xero.oauth import XeroIdentity
from tieout_server.xero.transport import open_session

VERIFIER = "a-code-verifier-of-at-least-forty-three-characters"


@dataclass
class Merchant:
    """A person at a browser in front of the sandbox, and our side of the consent."""

    sandbox: Sandbox
    session: aiohttp.ClientSession
    settings: Settings
    identity: XeroIdentity

    async def consent(self, *, email: str = "ada.adviser@example.com", organisation: int = 0) -> str:
        """Follow our authorisation URL, allow, and bring back the code."""
        url = self.identity.authorization_url(state="some-state", code_verifier=VERIFIER)
        form = dict(parse_qsl(urlsplit(url).query)) | {
            "user": email,
            "organisation": self.sandbox.organisations[organisation].id,
            "decision": "allow",
        }
        address = f"{self.sandbox.url}/identity/connect/authorize"
        async with self.session.post(address, data=form, allow_redirects=False) as response:
            assert response.status == HTTPStatus.FOUND
            answer = parse_qs(urlsplit(response.headers["Location"]).query)
        assert answer["state"] == ["some-state"]
        return answer["code"][0]

    async def connect(self, *, organisation: int = 0) -> TokenSet:
        code = await self.consent(organisation=organisation)
        return await self.identity.exchange(code=code, code_verifier=VERIFIER)

    def fail(self, path: str, status: int, body: str, content_type: str = "application/json") -> None:
        rule = FaultRule(FaultKind.ANSWER, path, status=status, body=body, content_type=content_type)
        self.sandbox.faults.add(rule)


def settings_for(url: str) -> Settings:
    return Settings(
        xero_login_url=url,
        xero_identity_url=url,
        xero_api_url=url,
        xero_client_id="tieout-sandbox-app",
        xero_client_secret=SecretStr("sandbox-secret"),
    )


@pytest.fixture
async def merchant() -> AsyncIterator[Merchant]:
    async with tieout_sandbox.serve(SandboxSettings(contacts=20, invoices=100)) as sandbox:
        settings = settings_for(sandbox.url)
        async with open_session(settings) as session:
            yield Merchant(sandbox, session, settings, XeroIdentity(session, settings, SystemClock()))


def test_the_authorisation_url_asks_for_a_code_bound_by_pkce() -> None:
    settings = settings_for("http://127.0.0.1:9440")
    identity = XeroIdentity(None, settings, SystemClock())  # type: ignore[arg-type] # no call is made
    url = urlsplit(identity.authorization_url(state="s t", code_verifier=VERIFIER))
    assert url.path == "/identity/connect/authorize"
    asked = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert asked.pop("code_challenge")
    assert asked == {
        "response_type": "code",
        "client_id": "tieout-sandbox-app",
        "redirect_uri": "http://localhost:7441/xero/callback",
        "scope": settings.xero_scopes,
        "state": "s t",
        "code_challenge_method": "S256",
    }
    assert VERIFIER not in url.query


async def test_a_code_becomes_tokens_that_say_who_consented_to_what(merchant: Merchant) -> None:
    before = SystemClock().now()
    tokens = await merchant.connect()
    ada = merchant.sandbox.authority.user_by_email("ada.adviser@example.com")
    assert ada is not None
    assert (tokens.xero_user_id, tokens.email, tokens.name) == (ada.id, ada.email, "Ada Adviser")
    assert set(tokens.scopes) == set(merchant.identity.scopes)
    assert timedelta(minutes=29) < tokens.access_expires_at - before <= timedelta(minutes=31)
    assert tokens.authentication_event_id


async def test_memberships_can_be_narrowed_to_those_of_one_consent(merchant: Merchant) -> None:
    first = await merchant.connect(organisation=0)
    second = await merchant.connect(organisation=1)
    every = await merchant.identity.memberships(second.access_token)
    assert {membership.xero_tenant_id for membership in every} == {o.id for o in merchant.sandbox.organisations}
    (one,) = await merchant.identity.memberships(
        second.access_token, authentication_event_id=second.authentication_event_id
    )
    assert (one.name, one.xero_tenant_id) == (
        merchant.sandbox.organisations[1].name,
        merchant.sandbox.organisations[1].id,
    )
    assert one.authentication_event_id == second.authentication_event_id != first.authentication_event_id


async def test_a_used_code_and_a_wrong_verifier_are_refused(merchant: Merchant) -> None:
    code = await merchant.consent()
    await merchant.identity.exchange(code=code, code_verifier=VERIFIER)
    with pytest.raises(ConsentExpiredError):
        await merchant.identity.exchange(code=code, code_verifier=VERIFIER)
    with pytest.raises(ConsentExpiredError):
        await merchant.identity.exchange(code=await merchant.consent(), code_verifier=VERIFIER[::-1])


async def test_a_refresh_rotates_and_a_lost_answer_can_be_asked_for_again(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    fresh = await merchant.identity.refresh(tokens.refresh_token)
    assert fresh.refresh_token != tokens.refresh_token
    assert fresh.xero_user_id == tokens.xero_user_id
    again = await merchant.identity.refresh(tokens.refresh_token)
    assert again.refresh_token not in {fresh.refresh_token, tokens.refresh_token}
    merchant.sandbox.clock.advance(timedelta(minutes=31))
    with pytest.raises(CredentialsExpiredError):
        await merchant.identity.refresh(tokens.refresh_token)


async def test_a_revoked_consent_is_the_end_of_the_credentials(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    merchant.sandbox.authority.revoke_user(tokens.xero_user_id)
    with pytest.raises(CredentialsExpiredError):
        await merchant.identity.refresh(tokens.refresh_token)


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (500, "<html>oops</html>", "text/html"),
        (503, '{"error": "temporarily_unavailable"}', "application/json"),
        (429, "", "text/plain"),
        (403, "<html>Access Denied</html>", "text/html"),
        (200, "<html>captive portal</html>", "text/html"),
        (200, '"text"', "application/json"),
    ],
    ids=["html-500", "503", "429", "html-403", "html-200", "string"],
)
async def test_trouble_at_the_identity_service_is_never_the_end_of_the_credentials(
    merchant: Merchant, status: int, body: str, content_type: str
) -> None:
    tokens = await merchant.connect()
    merchant.fail("/connect/token", status, body, content_type)
    with pytest.raises(XeroUnavailableError):
        await merchant.identity.refresh(tokens.refresh_token)
    await merchant.identity.refresh(tokens.refresh_token)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("invalid_client", AppRejectedError),
        ("unauthorized_client", AppRejectedError),
        ("invalid_scope", AppRejectedError),
        ("unsupported_grant_type", UnexpectedAnswerError),
    ],
)
async def test_only_invalid_grant_is_about_the_consent(
    merchant: Merchant, error: str, expected: type[TieoutError]
) -> None:
    for status in (400, 401):
        merchant.fail("/connect/token", status, f'{{"error": "{error}"}}')
        with pytest.raises(expected):
            await merchant.identity.refresh("whatever")


async def test_a_wrong_client_secret_is_the_operators_matter(merchant: Merchant) -> None:
    settings = merchant.settings.model_copy(update={"xero_client_secret": SecretStr("wrong")})
    with pytest.raises(AppRejectedError):
        await XeroIdentity(merchant.session, settings, SystemClock()).refresh("whatever")


async def test_a_cut_connection_leaves_the_refresh_token_good(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    merchant.sandbox.faults.add(FaultRule(FaultKind.DROP_AFTER, "/connect/token"))
    with pytest.raises(XeroUnavailableError):
        await merchant.identity.refresh(tokens.refresh_token)
    await merchant.identity.refresh(tokens.refresh_token)


async def test_a_code_is_not_spent_when_the_signing_keys_cannot_be_had(merchant: Merchant) -> None:
    code = await merchant.consent()
    merchant.fail("/jwks", 503, "")
    with pytest.raises(XeroUnavailableError):
        await merchant.identity.exchange(code=code, code_verifier=VERIFIER)
    assert (await merchant.identity.exchange(code=code, code_verifier=VERIFIER)).refresh_token


async def test_new_signing_keys_are_fetched_when_the_known_ones_do_not_fit(merchant: Merchant) -> None:
    await merchant.connect()
    sandbox_tokens.coming_key.cache_clear()
    assert (await merchant.connect()).email == "ada.adviser@example.com"


@pytest.mark.parametrize("claim", ["iss", "aud", "exp"])
async def test_an_id_token_that_is_not_for_us_or_not_from_xero_is_refused(
    merchant: Merchant, claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sandbox_tokens.sign

    def forged(claims: dict[str, object]) -> str:
        wrong: object = 1_000 if claim == "exp" else "https://evil.example"
        return honest(claims | ({claim: wrong} if "email" in claims else {}))

    monkeypatch.setattr(sandbox_tokens, "sign", forged)
    with pytest.raises(UnexpectedAnswerError, match="id_token"):
        await merchant.connect()


async def test_an_id_token_signed_by_somebody_else_is_refused(merchant: Merchant) -> None:
    await merchant.connect()
    merchant.fail("/jwks", 200, json.dumps(sandbox_tokens.key_set()))
    sandbox_tokens.coming_key.cache_clear()
    with pytest.raises(UnexpectedAnswerError, match="id_token"):
        await merchant.connect()


async def test_an_access_token_that_is_refused_lists_nothing(merchant: Merchant) -> None:
    with pytest.raises(AccessRevokedError):
        await merchant.identity.memberships("forged")
    tokens = await merchant.connect()
    merchant.fail("/connections", 503, "The Xero API is temporarily unavailable", "text/plain")
    with pytest.raises(XeroUnavailableError):
        await merchant.identity.memberships(tokens.access_token)


async def test_one_organisation_is_removed_and_the_others_of_its_user_stay(merchant: Merchant) -> None:
    await merchant.connect(organisation=0)
    tokens = await merchant.connect(organisation=1)
    first, second = await merchant.identity.memberships(tokens.access_token)
    await merchant.identity.disconnect(tokens.access_token, first.membership_id)
    assert await merchant.identity.memberships(tokens.access_token) == [second]
    await merchant.identity.disconnect(tokens.access_token, first.membership_id)  # 404: it is gone already
    assert (await merchant.identity.refresh(tokens.refresh_token)).access_token


async def test_a_removal_that_xero_forbids_as_it_was_made_already_is_done(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    body = json.dumps({"Status": 403, "Detail": "AuthenticationUnsuccessful"})
    merchant.sandbox.faults.add(
        FaultRule(FaultKind.ANSWER, "/connections/", status=403, body=body, content_type="application/json")
    )
    await merchant.identity.disconnect(tokens.access_token, "any")


async def test_a_consent_that_is_taken_back_takes_all_its_organisations_with_it(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    await merchant.identity.revoke(tokens.refresh_token)
    with pytest.raises(CredentialsExpiredError):
        await merchant.identity.refresh(tokens.refresh_token)
    await merchant.identity.revoke(tokens.refresh_token)  # a repeat is no error


@pytest.mark.parametrize(
    "outage",
    [
        FaultRule(FaultKind.UNAVAILABLE),
        FaultRule(FaultKind.FORBIDDEN_HTML),
        FaultRule(FaultKind.ANSWER, status=404, body="<h1>Not Found</h1>", content_type="text/html"),
        FaultRule(FaultKind.DROP),
    ],
    ids=lambda rule: f"{rule.kind} {rule.status}",
)
async def test_an_outage_takes_nothing_back_and_says_so(merchant: Merchant, outage: FaultRule) -> None:
    tokens = await merchant.connect()
    (membership,) = await merchant.identity.memberships(tokens.access_token)
    for path in ("/connections/", "/connect/revocation"):
        merchant.sandbox.faults.add(replace(outage, path=path))
    with pytest.raises(XeroUnavailableError):
        await merchant.identity.disconnect(tokens.access_token, membership.membership_id)
    with pytest.raises(XeroUnavailableError):
        await merchant.identity.revoke(tokens.refresh_token)
    assert await merchant.identity.memberships(tokens.access_token) == [membership]


async def test_a_removal_with_a_token_that_is_not_accepted_is_refused(merchant: Merchant) -> None:
    with pytest.raises(AccessRevokedError):
        await merchant.identity.disconnect("no token", "any")


async def test_a_wrong_client_secret_takes_nothing_back(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    merchant.settings.xero_client_secret = SecretStr("wrong")
    with pytest.raises(AppRejectedError):
        await merchant.identity.revoke(tokens.refresh_token)


async def test_a_token_response_that_lacks_something_is_not_quoted(merchant: Merchant) -> None:
    merchant.fail("/connect/token", 200, '{"access_token": "not.really.ajwt", "refresh_token": "secret-refresh"}')
    with pytest.raises(UnexpectedAnswerError) as caught:
        await merchant.identity.refresh("secret-before")
    shown = f"{caught.value!r} {caught.value} {caught.value.facts}"
    assert "secret" not in shown
    assert "ajwt" not in shown
    assert caught.value.__cause__ is None


async def test_a_token_set_does_not_show_its_tokens(merchant: Merchant) -> None:
    tokens = await merchant.connect()
    assert tokens.access_token not in f"{tokens!r} {tokens}"
    assert tokens.refresh_token not in f"{tokens!r} {tokens}"
