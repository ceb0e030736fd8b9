"""Callers in other languages: the snippets of their pages, built with stubs made on the spot, and who uses them.

Each program takes `customers|refusals|watch TARGET CONNECTION [TOKEN]` and prints what it saw, a line of JSON each.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from third_party import Client

ROOT = Path(__file__).parents[1]
DRIVERS = Path(__file__).parent / "service" / "callers"


def typescript(root: Path) -> list[str]:
    """The program, built in `root` as client/typescript/README.md says; skips the test where npm is not to be had."""
    client = Client("typescript", ROOT / "client")
    client.prepare()
    project = _copy("typescript", root)
    (project / "node_modules").symlink_to(client.environment / "node_modules")
    (project / "src").mkdir()
    (project / "src" / "tieout.ts").write_text(_snippets("typescript", "ts"))
    shutil.copy(DRIVERS / "drive.ts", project / "src")
    _run(project, "npm", "run", "generate")
    _run(project, "npm", "run", "build")
    return ["node", str(project / "build" / "drive.js")]


def go(root: Path) -> list[str]:
    """The program, built in `root` as client/go/README.md says; skips the test where Go or what it needs is not."""
    for tool in ("go", "protoc-gen-go", "protoc-gen-go-grpc"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    libraries = os.environ.get("TIEOUT_TEST_GOPATH", "")
    if not libraries:
        pytest.skip("TIEOUT_TEST_GOPATH does not say where grpc and protobuf for Go are (tests/README.md)")
    project = _copy("go", root)
    module = root / "src" / "example.com" / "yours"
    (module / "tieout").mkdir(parents=True)
    (module / "tieout" / "tieout.go").write_text(_snippets("go", "go"))
    shutil.copy(DRIVERS / "drive.go", module)
    _run(project, "buf", "generate")
    shutil.move(project / "gen", module)
    without_modules = {"GO111MODULE": "off", "GOPATH": f"{root}{os.pathsep}{libraries}", "GOFLAGS": ""}
    _run(module, "go", "build", "-o", "drive", ".", **without_modules)
    return [str(module / "drive")]


def _copy(language: str, root: Path) -> Path:
    """The folder of a language beside the protos, as in the repository."""
    shutil.copytree(ROOT / "proto", root / "proto")
    project = root / "client" / language
    made = shutil.ignore_patterns("node_modules", "src", "build")
    shutil.copytree(ROOT / "client" / language, project, ignore=made)
    return project


def _snippets(language: str, marked: str) -> str:
    page = (ROOT / "client" / language / "README.md").read_text()
    return "\n".join(re.findall(rf"```{marked}\n(.*?)```", page, re.DOTALL))


def _run(folder: Path, *command: str, **environment: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    surroundings = {**os.environ, "PATH": path, **environment}
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
