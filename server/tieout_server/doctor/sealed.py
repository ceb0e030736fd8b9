"""Whether what the vault has sealed opens, and with which of its keys."""

from collections.abc import AsyncIterator, Mapping, Sequence

from tieout_server.doctor.findings import Finding, fault, fine, not_examined, warning
from tieout_server.settings import Settings
from tieout_server.storage import rotation
from tieout_server.storage.database import Database
from tieout_server.storage.rotation import UNKNOWN, Standing
from tieout_server.storage.sealed import SEALED
from tieout_server.storage.vault import Vault, VaultError, key_file_of

CHECK = "vault"
TRIED = 100
"""Secrets of each kind and key that are opened; of all the others it is only seen which key they name."""


async def examine(settings: Settings, database: Database) -> Sequence[Finding]:
    """Every secret by the key that it names, and some of each kind by opening them."""
    counts = await rotation.counts(database)
    if not counts:
        return [fine(CHECK, "Nothing is sealed yet.")]
    keys, file = settings.vault_keys.get_secret_value(), key_file_of(database.url)
    if not keys.strip() and file and not file.exists():
        said = f"There is neither TIEOUT_VAULT_KEYS nor the key file {file}, and sealed are: {_listed(counts)}."
        return [fault(CHECK, said, "Bring back the key they were sealed with; without it merchants connect anew.")]
    try:
        vault = Vault.from_settings(keys, settings.database_url)
    except VaultError:
        return [not_examined(CHECK, "There are no keys that can be read: see vault keys.")]
    return [finding async for finding in _judged(database, vault)]


async def _closed(database: Database, vault: Vault, name: str) -> Sequence[str]:
    """Why they do not open, of those among the first that name this key."""
    closed = []
    for sealed in SEALED:
        for context, secret in await rotation.some(database, vault, sealed, name, TRIED):
            try:
                vault.open(secret, context=context)
            except VaultError as error:
                closed.append(str(error))
    return closed


async def _judged(database: Database, vault: Vault) -> AsyncIterator[Finding]:
    standing = await rotation.standing(database, vault)
    is_fine = standing.is_done
    if (unknown := _by(standing, UNKNOWN)) and (why := await _closed(database, vault, UNKNOWN)):
        yield fault(
            CHECK,
            f"Some do not open: {_listed(unknown)}. The first: {why[0]}",
            "Add the key they were sealed with to TIEOUT_VAULT_KEYS, behind the first one.",
        )
    for name in vault.names:
        if why := await _closed(database, vault, name):
            is_fine = False
            yield fault(
                CHECK,
                f"{len(why)} of those that were tried do not open with {name}, their key. The first: {why[0]}",
                f"Bring back the key that had the name {name} when they were sealed; if it is the same, rows were "
                "changed by hand: restore the last backup, or have these merchants connect anew.",
            )
    if old := _by(standing, *vault.names[1:]):
        yield warning(CHECK, f"Sealed with an older key: {_listed(old)}.", "Run: tieout-server rotate-keys")
    if is_fine:
        kinds = _listed(_by(standing, vault.names[0]))
        yield fine(CHECK, f"All is sealed with {vault.names[0]}, and what was tried of it opens: {kinds}.")


def _by(standing: Standing, *names: str) -> Mapping[str, int]:
    """How many of each kind are sealed with any of these keys; kinds without any are left out."""
    sums = {kind: sum(by.get(name, 0) for name in names) for kind, by in standing.by_kind.items()}
    return {kind: count for kind, count in sums.items() if count}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} ({count:,})" for kind, count in counts.items())
