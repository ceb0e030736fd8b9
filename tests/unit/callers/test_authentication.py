"""Who guesses at credentials, and who works beside them at the same address."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fakes import World
from issuer import AUDIENCE, issuing
from tieout_server.callers.authentication import WRONG_AT_ONCE, Authentication, Credentials
from tieout_server.callers.caller import Role
from tieout_server.callers.jwts import BELIEVED
from tieout_server.callers.keys import make
from tieout_server.callers.registering import Registration, Wanted
from tieout_server.errors import CallerRateLimitedError, CallerUnauthenticatedError
from tieout_server.settings import Settings
from tieout_server.storage import callers

NAT = "203.0.113.9"


def door(around: World, **settings: Any) -> Authentication:  # noqa: ANN401 - as Settings has it
    return Authentication(around.subjects.callers, Settings(**settings), only_here=False)


def bearer(token: str, address: str = NAT) -> Credentials:
    return Credentials(f"Bearer {token}", (), address)


def certified(name: str) -> Credentials:
    return Credentials("", (name,), NAT)


async def registered(around: World, name: str, certificate: str = "") -> str:
    wanted = Wanted(name=name, roles=frozenset({Role.READER}), certificate=certificate)
    return await Registration(around.database, around.clock).add(wanted)


async def show_in_vain(door: Authentication, wrong: Credentials) -> None:
    for _ in range(int(WRONG_AT_ONCE) + 1):
        with pytest.raises(CallerUnauthenticatedError):
            await door.authenticate(wrong)


async def guess_on(door: Authentication, wrong: str = "") -> None:
    """Show what is wrong until nothing more of the kind is looked at."""
    with pytest.raises(CallerRateLimitedError):
        await show_in_vain(door, bearer(wrong or make().text))


async def test_who_was_let_in_by_a_key_or_a_certificate_goes_on_however_long_somebody_guesses_beside_them(
    around: World,
) -> None:
    key = await registered(around, "console")
    await registered(around, "portal", "spiffe://x/portal")
    at = door(around)
    for _ in range(3):
        assert (await at.authenticate(bearer(key))).name == "console"
        assert (await at.authenticate(certified("spiffe://x/portal"))).name == "portal"
        around.forget_callers()
        await guess_on(at)


async def test_who_was_let_in_by_a_jwt_goes_on_however_long_somebody_guesses_beside_them(around: World) -> None:
    async with issuing() as issuer:
        issuer.add_key("k1")
        token, at = issuer.token("k1"), door(around, jwt_issuer=issuer.url, jwt_audience=AUDIENCE)
        for _ in range(3):
            assert (await at.authenticate(bearer(token))).name == "jwt:console"
            around.clock.time += timedelta(seconds=BELIEVED)
            await guess_on(at)
        with pytest.raises(CallerRateLimitedError):
            await at.authenticate(bearer(issuer.token("k1", sub="somebody-new")))


async def test_who_guesses_the_secret_of_a_key_that_is_in_use_is_slowed_down_too(around: World) -> None:
    key, at = await registered(around, "console"), door(around)
    await at.authenticate(bearer(key))
    made = make()
    await guess_on(at, made.text.replace(made.id, key.split("_")[1]))
    assert (await at.authenticate(bearer(key))).name == "console"


async def test_a_site_of_ipv6_guesses_as_one_whatever_address_it_takes(around: World) -> None:
    at = door(around)
    with pytest.raises(CallerRateLimitedError):
        await show_in_vain(at, bearer(make().text, "2001:db8::1"))
    with pytest.raises(CallerRateLimitedError):
        await at.authenticate(bearer(make().text, "2001:db8::ffff"))
    with pytest.raises(CallerUnauthenticatedError):
        await at.authenticate(bearer(make().text, "2001:db8:0:1::1"))


async def test_a_query_that_hangs_holds_up_nobody_who_is_known_otherwise(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await registered(around, "console")
    await registered(around, "portal", "spiffe://x/portal")
    asked, real = asyncio.Event(), callers.key_of

    async def hang(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(callers, "key_of", hang)
    at = door(around)
    stuck = [asyncio.create_task(at.authenticate(bearer(key))) for _ in range(2)]
    await asked.wait()
    async with asyncio.timeout(5):
        assert (await at.authenticate(certified("spiffe://x/portal"))).name == "portal"
    monkeypatch.setattr(callers, "key_of", real)
    stuck[0].cancel()
    assert (await stuck[1]).name == "console", "who waits for the same goes on as the first one gives up"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_as_one_likes(around: World, scheme: str) -> None:
    """RFC 9110, 11.1."""
    shown = Credentials(f"{scheme} root", (), NAT)
    assert (await door(around, token="root").authenticate(shown)).name == "token"


async def test_another_scheme_is_no_token(around: World) -> None:
    for shown in ("Basic root", "root", "Bearer", "Bearer\troot"):
        with pytest.raises(CallerUnauthenticatedError):
            await door(around, token="root").authenticate(Credentials(shown, (), NAT))
