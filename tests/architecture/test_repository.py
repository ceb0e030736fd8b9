"""What the repository promises about itself: its README, its lock file, its folders."""

import re
import subprocess
from pathlib import Path

import pytest

from tieout_server.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split("\0") if name]
    return [path for name in names if (path := ROOT / name).is_file()]


def test_no_file_names_a_package_registry_or_a_path_of_this_machine() -> None:
    host = re.compile(
        r"https?://(?:pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org)|/opt/pypi|/work/(?:main|shared)"
    )
    here = Path(__file__).relative_to(ROOT)
    found = []
    for path in tracked():
        if path.relative_to(ROOT) == here or path.suffix in (".png", ".binpb"):
            continue
        if match := host.search(path.read_text(errors="replace")):
            found.append(f"{path.relative_to(ROOT)}: {match.group()}")
    assert not found


def test_every_visible_folder_opens_with_a_readme() -> None:
    for folder in ("proto", "client", "server", "tests"):
        assert (ROOT / folder / "README.md").is_file()
    assert (ROOT / "server/tieout_sandbox/README.md").is_file()


def test_every_decision_says_what_enforces_it_and_names_files_that_exist() -> None:
    for page in sorted((ROOT / "server/decisions").glob("[0-9]*.md")):
        text = page.read_text()
        assert "**Enforced by**" in text, page
        named = re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text.split("**Enforced by**")[1])
        assert named, page
        for name in named:
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_readme_has_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(TIEOUT_[A-Z_]+)` \| ([^|]*) \|", README, re.MULTILINE))
    names = {f"TIEOUT_{name.upper()}" for name in Settings.model_fields}
    assert names == {name for name in rows if name not in CLIENT_ONLY}


CLIENT_ONLY = {"TIEOUT_TARGET", "TIEOUT_TLS", "TIEOUT_CA_FILE", "TIEOUT_CERT_FILE", "TIEOUT_KEY_FILE", "TIEOUT_TIMEOUT"}


@pytest.mark.parametrize(
    "promise", re.findall(r"^\| (.+?) \| `(tests/.+?)` \|$", README, re.MULTILINE), ids=lambda p: p[0]
)
def test_every_promise_of_the_readme_has_the_test_that_it_names(promise: tuple[str, str]) -> None:
    path, _, name = promise[1].partition("::")
    assert (ROOT / path).is_file(), promise
    if name:
        assert f"def {name}" in (ROOT / path).read_text(), promise


def test_the_readme_names_promises_at_all() -> None:
    assert len(re.findall(r"^\| .+? \| `tests/.+?` \|$", README, re.MULTILINE)) >= 10
