"""The API reference in `proto/reference/`: nothing is missing from it. `generate.py --check` keeps it fresh."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[2]
FILES = [
    it
    for it in FileDescriptorSet.FromString((ROOT / "proto/baseline.binpb").read_bytes()).file
    if it.name.startswith("tieout/")
]
FOLDER = ROOT / "proto/reference"


def page_of(file: FileDescriptorProto) -> str:
    return (FOLDER / Path(file.name).with_suffix(".md").name).read_text()


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one; it is there once."""
    _, text = f"{page}\n#".split(f"{heading}\n", maxsplit=1)
    return text.partition("\n#")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_every_rpc_field_and_value_has_its_place_and_says_something(file: FileDescriptorProto) -> None:
    page = page_of(file)
    for service in file.service:
        assert section(page, f"## {service.name}").strip()
        for rpc in service.method:
            assert "Refuses" in section(page, f"### {rpc.name}")
    for kinds in ((it.name, [f.name for f in it.field]) for it in file.message_type):
        _in_rows(page, *kinds)
    for kinds in ((it.name, [v.name for v in it.value]) for it in file.enum_type):
        _in_rows(page, *kinds)


def _in_rows(page: str, kind: str, names: list[str]) -> None:
    rows = [line for line in section(page, f"## {kind}").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == names, kind
    assert [row for row in rows if row.split("|")[-2].strip() == ""] == []


def test_a_reference_says_which_stream_goes_which_way() -> None:
    service = (FOLDER / "reconciliation_service.md").read_text()
    assert section(service, "### SubmitPlatformBalances").strip().startswith("a stream of [")
    assert "→ a stream of [" in section(service, "### ExportEvidence")


def test_a_reason_in_a_refusal_leads_to_its_explanation() -> None:
    service = (FOLDER / "sync_service.md").read_text()
    assert "[NOT_FOUND](errors.md#errorreason)" in section(service, "### GetSync")
