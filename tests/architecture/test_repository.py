"""What the repository promises about itself: its folders, its decisions, and no trace of a machine."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
