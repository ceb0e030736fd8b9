"""What the pages say of the repository is true: their links lead somewhere, every setting and promise is there."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tieout.v1.connection_service_pb2 import ConnectionReasonCode
from tieout.v1.payment_export_service_pb2 import ExportErrorReason
from tieout.v1.reconciliation_service_pb2 import DiscrepancyCause
from tieout_server.settings import Settings

ROOT = Path(__file__).parents[2]
HIDDEN = re.compile(r"(^|/)(\.|node_modules/|build/|dist/)")
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if not HIDDEN.search(str(path.relative_to(ROOT)))]
PROMISES = re.findall(r"^\| (.+?) \| `(tests/.+?)` \|$", (ROOT / "tests/PROMISES.md").read_text(), re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor that each link within the repository leads to."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    seen, made = Counter[str](), set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = [
        f"{path}#{anchor}" if anchor else str(path)
        for path, anchor in links(page)
        if not path.exists() or (anchor and anchor not in anchors(path))
    ]
    assert dead == []


def test_links_are_seen_at_all() -> None:
    assert (ROOT / "server/operations/postgresql.md", "behind-pgbouncer") in list(
        links(ROOT / "server/operations/settings.md")
    )


@pytest.mark.parametrize("folder", ["server/operations", "client/guides"])
def test_every_page_of_a_folder_is_in_an_index(folder: str) -> None:
    index = ROOT / ("client/README.md" if folder == "client/guides" else f"{folder}/README.md")
    listed = {path for path, _ in links(index)}
    assert [page.name for page in (ROOT / folder).glob("*.md") if page != index and page not in listed] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            ahead += [path for path, _ in links(page)]
    decisions = set((ROOT / "server/decisions").glob("*.md"))  # the README leads to their folder
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached | decisions] == []


def test_every_setting_is_told_with_a_default() -> None:
    page = (ROOT / "server/operations/settings.md").read_text()
    rows = re.findall(r"^\| `(TIEOUT_[A-Z_]+)` \| ([^|]*) \| ", page, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(f"TIEOUT_{name.upper()}" for name in Settings.model_fields)


@pytest.mark.parametrize(
    "name", [name for name, it in Settings.model_fields.items() if isinstance(it.default, str | int)]
)
def test_the_default_that_is_told_is_the_one_that_holds(name: str) -> None:
    page = (ROOT / "server/operations/settings.md").read_text()
    (told,) = re.findall(rf"^\| `TIEOUT_{name.upper()}` \| ([^|]*) \| ", page, re.MULTILINE)
    holds = Settings.model_fields[name].default
    if "](" not in told:  # told on another page
        assert told == (f"`{str(holds).lower() if isinstance(holds, bool) else holds}`" if holds != "" else "none")


@pytest.mark.parametrize(("promise", "test"), PROMISES)
def test_every_promise_has_the_test_that_it_names(promise: str, test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).is_file(), promise
    if name:
        assert f"def {name}" in (ROOT / path).read_text(), promise


EXPLAINED = {
    "connections": (ConnectionReasonCode, "CONNECTION_REASON_CODE_"),
    "reconciliation": (DiscrepancyCause, "DISCREPANCY_CAUSE_"),
    "payments": (ExportErrorReason, "EXPORT_ERROR_REASON_"),
}


@pytest.mark.parametrize("guide", EXPLAINED)
def test_a_guide_explains_every_reason_that_can_be_met(guide: str) -> None:
    enum, prefix = EXPLAINED[guide]
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / f"client/guides/{guide}.md").read_text(), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert explained == {it.removeprefix(prefix) for it in enum.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - not a dict


def test_there_are_promises_at_all() -> None:
    assert len(PROMISES) >= 40


def test_the_first_page_is_short() -> None:
    assert (ROOT / "README.md").read_text().count("\n") <= 150
