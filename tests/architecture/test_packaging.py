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


CLIENT = ("tieout",)
EXTRAS = {
    "": CLIENT,
    "server": (*CLIENT, "tieout-server"),
    "sandbox": (*CLIENT, "tieout-sandbox"),
    "server,sandbox,telemetry": (*CLIENT, "tieout-server", "tieout-sandbox"),
}
"""Which commands run after an installation with these extras."""
ABSENT = {
    "": {"aiohttp", "sqlalchemy", "msgspec", "cryptography", "joserfc", "structlog"},
    "sandbox": {"sqlalchemy", "alembic", "structlog"},
}


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "uv", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def install(wheel: Path, extras: str, environment: Path) -> Path:
    """The programs of a new environment with the wheel and what it needs, by version and hash of the lock."""
    made = uv("venv", "--quiet", "--python", sys.executable, environment)
    assert made.returncode == 0, made.stderr
    python = ("--python", str(environment))
    asked = [argument for extra in extras.split(",") if extra for argument in ("--extra", extra)]
    locked = ("--require-hashes", "--constraint", "requirements.lock", "--requirements", "pyproject.toml", *asked)
    there = uv("pip", "install", "--quiet", "--offline", *python, *locked)  # setup has left it in the cache, mostly
    if there.returncode and (there := uv("pip", "install", "--quiet", *python, *locked)).returncode:
        assert "hash" not in there.stderr.lower(), there.stderr
        pytest.skip(f"the packages could not be had: {there.stderr[-300:]}")
    done = uv("pip", "install", "--quiet", "--offline", "--no-deps", *python, wheel)
    assert done.returncode == 0, done.stderr
    return environment / "bin"


@pytest.mark.slow
@pytest.mark.parametrize("extras", EXTRAS, ids=lambda extras: extras or "bare")
def test_a_clean_environment_has_the_commands_that_were_asked_for_and_no_more(
    wheel: Path, tmp_path: Path, extras: str
) -> None:
    programs = install(wheel, extras, tmp_path / "venv")
    clean = {"PATH": "/usr/bin:/bin", "COLUMNS": "100"}
    for command in EXTRAS[extras]:
        helped = subprocess.run(
            [programs / command, "--help"], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
        )
        assert helped.returncode == 0, helped.stderr
        assert command in helped.stdout
    listed = f"import importlib.util as u; print([n for n in {sorted(ABSENT.get(extras, []))!r} if u.find_spec(n)])"
    found = subprocess.run(
        [programs / "python", "-c", listed], cwd=tmp_path, env=clean, capture_output=True, check=True
    )
    assert found.stdout == b"[]\n"


def test_the_client_alone_needs_nothing_of_the_server() -> None:
    code = (
        "import sys, tieout;"
        "heavy = {'aiohttp', 'sqlalchemy', 'msgspec', 'pydantic', 'alembic', 'cryptography'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
