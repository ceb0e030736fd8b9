"""What `pip install tieout` brings: one wheel with the client, the server with its migrations, and the sandbox."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_everything_that_runs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"tieout", "tieout_server", "tieout_sandbox"}
    for needed in (
        "tieout/py.typed",
        "tieout/v1/sync_service_pb2.pyi",
        "tieout_server/storage/migrations/env.py",
        "tieout_server/web/page.html",
    ):
        assert needed in names
    assert any(name.startswith("tieout_server/storage/migrations/versions/0001") for name in names)


def test_the_wheel_runs_from_where_it_was_installed(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [
            Path(sys.executable).parent / "uv",
            "pip",
            "install",
            "--quiet",
            "--offline",
            "--no-deps",
            "--target",
            site,
            wheel,
        ],
        check=True,
        capture_output=True,
    )
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import tieout, tieout_sandbox, tieout_server.app
import tieout_server.storage.migrate as migrate
assert all(x.__file__.startswith(sys.argv[1]) for x in (tieout, tieout_server.app, tieout_sandbox)), tieout.__file__
assert migrate.head() == migrate.HEAD
"""
    subprocess.run([sys.executable, "-c", code, str(site)], check=True, cwd=tmp_path, timeout=60)


def test_the_client_alone_needs_nothing_of_the_server() -> None:
    code = (
        "import sys, tieout;"
        "heavy = {'aiohttp', 'sqlalchemy', 'msgspec', 'pydantic', 'alembic', 'cryptography'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
