"""The vault opens what it sealed, for the row it was sealed for, and nothing else."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tieout_server.storage.vault import KEY_BYTES, Vault, VaultError

OLD, NEW = bytes(range(KEY_BYTES)), bytes(reversed(range(KEY_BYTES)))
ROW = "xero_users/u1/refresh_token"


def _text(**keys: bytes) -> str:
    return ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())


@pytest.mark.parametrize("plain", ["", "a refresh token", "Ünïcode 🏦", "x" * 10_000])
def test_what_is_sealed_opens_again(plain: str) -> None:
    vault = Vault({"k1": OLD})
    sealed = vault.seal(plain, context=ROW)
    assert not plain or plain.encode() not in sealed
    assert vault.open(sealed, context=ROW) == plain


def test_the_same_secret_is_never_sealed_alike() -> None:
    vault = Vault({"k1": OLD})
    assert vault.seal("token", context=ROW) != vault.seal("token", context=ROW)


def test_a_sealed_value_does_not_open_in_another_row() -> None:
    vault = Vault({"k1": OLD})
    with pytest.raises(VaultError, match="does not open"):
        vault.open(vault.seal("token", context=ROW), context="xero_users/u2/refresh_token")


def test_a_change_of_any_byte_is_noticed() -> None:
    vault = Vault({"k1": OLD})
    sealed = vault.seal("token", context=ROW)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(VaultError):
            vault.open(bytes(changed), context=ROW)
    for length in range(len(sealed)):
        with pytest.raises(VaultError):
            vault.open(sealed[:length], context=ROW)


def test_keys_are_rotated_by_putting_a_new_one_first() -> None:
    before, after = Vault({"old": OLD}), Vault.from_settings(_text(new=NEW, old=OLD), "sqlite:///x.db")
    sealed = before.seal("token", context=ROW)
    assert after.open(sealed, context=ROW) == "token"
    resealed = after.seal("token", context=ROW)
    assert after.names == ("new", "old")
    assert sealed.startswith(after.mark("old"))
    assert resealed.startswith(after.mark("new"))
    with pytest.raises(VaultError, match="'new'"):
        before.open(resealed, context=ROW)


@pytest.mark.parametrize(
    "keys",
    [
        "k1",
        "k1:not base64!",
        "k1:c2hvcnQ=",
        f"k1:{base64.b64encode(OLD).decode()},k1:{base64.b64encode(NEW).decode()}",
        "bad name:AA==",
    ],
)
def test_keys_that_cannot_be_used_are_refused_without_repeating_them(keys: str) -> None:
    with pytest.raises(VaultError) as refused:
        Vault.from_settings(keys, "sqlite:///x.db")
    assert "openssl rand" in refused.value.sentence
    assert "c2hvcnQ" not in refused.value.sentence
    assert "not base64!" not in refused.value.sentence


def test_no_key_is_shown() -> None:
    shown = repr(Vault({"k1": OLD, "k2": NEW}))
    assert shown == "Vault(k1, k2)"


def test_postgresql_without_keys_is_refused_with_the_way_to_make_one() -> None:
    with pytest.raises(VaultError, match="openssl rand -base64 32"):
        Vault.from_settings("", "postgresql://localhost/tieout")


def test_sqlite_without_keys_gets_a_key_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tieout.db'}"
    sealed = Vault.from_settings("", url).seal("token", context=ROW)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Vault.from_settings("", url).open(sealed, context=ROW) == "token"


def test_an_existing_key_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "tieout.db.key"
    file.write_text("not a key")
    with pytest.raises(VaultError):
        Vault.from_settings("", f"sqlite:///{tmp_path / 'tieout.db'}")
    assert file.read_text() == "not a key"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="cannot be used"):
        Vault.from_settings("", f"sqlite:///{tmp_path / 'no' / 'tieout.db'}")


def test_those_who_start_together_share_one_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tieout.db'}"
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: Vault.from_settings("", url).seal("token", context=ROW), range(32)))
    assert [Vault.from_settings("", url).open(value, context=ROW) for value in sealed] == ["token"] * 32
    assert [path.name for path in tmp_path.iterdir()] == ["tieout.db.key"]
