"""Registering callers: what an operator does with `tieout-server callers`."""

import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from tieout_server.callers import keys
from tieout_server.callers.caller import RESERVED, Role
from tieout_server.clock import Clock
from tieout_server.errors import OperatorMustActError
from tieout_server.storage import callers
from tieout_server.storage.callers import Key, Registered
from tieout_server.storage.database import Database, Transaction

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class RegistrationError(OperatorMustActError):
    """What was asked for cannot be registered; the sentence says why."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A caller to be registered."""

    name: str
    roles: frozenset[Role]
    merchants: tuple[str, ...] = ()
    """Empty: all."""
    certificate: str = ""
    """Empty: it shows itself by a key."""
    key_life: timedelta | None = None


class Listed(msgspec.Struct, frozen=True):
    """A caller and its keys."""

    caller: Registered
    keys: tuple[Key, ...]


class Registration:
    """The register of callers, for whoever runs this service."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, wanted: Wanted) -> str:
        """Register a caller; answers its key, which is nowhere else, or nothing where it has a certificate.

        Raises:
            RegistrationError: the name is none, or was given before.
        """
        if not _NAME.fullmatch(wanted.name) or wanted.name in RESERVED:
            raise RegistrationError(
                f"{wanted.name!r} cannot be a caller's name: lower-case letters, digits, '.', '_' and '-', 63 at most."
            )
        if not wanted.roles:
            raise RegistrationError(f"Without a role {wanted.name} could do nothing: give --role.")
        async with self._database.write() as tx:
            await callers.free_certificate(tx, wanted.certificate)
            await self._check_free(tx, wanted)
            await callers.insert(
                tx,
                Registered(
                    name=wanted.name,
                    roles=tuple(role for role in Role if role in wanted.roles),
                    merchants=wanted.merchants or None,
                    certificate=wanted.certificate or None,
                    created_at=self._clock.now(),
                ),
            )
            return "" if wanted.certificate else await self._new_key(tx, wanted.name, wanted.key_life)

    async def new_key(self, name: str, life: timedelta | None) -> str:
        """Give a caller another key beside those it has; answers it.

        Raises:
            RegistrationError: there is no such caller, or it was revoked.
        """
        async with self._database.write() as tx:
            found = await callers.get(tx, name)
            if found is None or found.revoked_at is not None:
                raise RegistrationError(f"There is no caller {name!r} that is let in.")
            return await self._new_key(tx, name, life)

    async def revoke(self, name: str) -> None:
        """Let a caller in no more, whatever it shows.

        Raises:
            RegistrationError: there is none that was let in.
        """
        async with self._database.write() as tx:
            if not await callers.revoke(tx, name, self._clock.now()):
                raise RegistrationError(f"There is no caller {name!r} that is let in.")

    async def revoke_key(self, key_id: str) -> None:
        """Accept this key no more; the caller's others stay.

        Raises:
            RegistrationError: there is none that was accepted.
        """
        async with self._database.write() as tx:
            if not await callers.revoke_key(tx, key_id, self._clock.now()):
                raise RegistrationError(f"There is no key {key_id!r} that is accepted.")

    async def everybody(self) -> Sequence[Listed]:
        """Every caller with its keys, revoked ones included, by name."""
        async with self._database.read() as tx:
            known, all_keys = await callers.everybody(tx), await callers.keys_of_all(tx)
        return [Listed(one, tuple(key for key in all_keys if key.caller == one.name)) for one in known]

    async def _check_free(self, tx: Transaction, wanted: Wanted) -> None:
        if (known := await callers.get(tx, wanted.name)) is not None:
            how = "was revoked, and its name stays its own" if known.revoked_at else "is registered already"
            raise RegistrationError(f"{wanted.name} {how}; `callers new-key` gives a caller another key.")
        if wanted.certificate and await callers.of_certificate(tx, (wanted.certificate,)) is not None:
            raise RegistrationError(f"The certificate {wanted.certificate!r} is another caller's.")

    async def _new_key(self, tx: Transaction, name: str, life: timedelta | None) -> str:
        made, now = keys.make(), self._clock.now()
        expires_at = None if life is None else now + life
        digest = keys.digest_of(made.secret)
        await callers.insert_key(tx, Key(id=made.id, caller=name, digest=digest, created_at=now, expires_at=expires_at))
        return made.text
