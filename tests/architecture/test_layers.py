"""The layers of house and README: import-linter's contracts hold, and sizes stay what a reader can hold in mind."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = [ROOT / "client/tieout", ROOT / "server/tieout_server", ROOT / "server/tieout_sandbox"]
MODULE_LINES = 400
FUNCTION_LINES = 60
"""Docstrings and signatures included; the aim is 3 to 12 lines of code."""
COMPOSITION = {"serve"}
"""Where every object is built by hand, once: long, and nothing but lines of one kind."""


def modules() -> list[Path]:
    return [
        path for folder in OURS for path in sorted(folder.rglob("*.py")) if not {"v1", "versions"} & set(path.parts)
    ]


def test_arrows_point_down() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for_and_is_short_enough_to_be_read(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{path} opens with no sentence"
    assert source.count("\n") <= MODULE_LINES, f"{path} has {source.count(chr(10))} lines"
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1})"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
        and node.name not in COMPOSITION
    ]
    assert not long, f"{path}: {', '.join(long)}"


def test_no_word_that_says_nothing_names_a_thing() -> None:
    hollow = ("manager", "handler", "helper", "processor", "impl", "utils", "common", "misc")
    named = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.lower().endswith(hollow)
    ]
    assert not named
    assert not [path for path in modules() if path.stem in hollow]
