"""What lies in `server/deploy` is sound, as far as can be told without a container runtime or a cluster."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tieout_sandbox.__main__ import _parser
from tieout_server.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "server" / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = DEPLOY / "kubernetes" / "tieout.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(KUBERNETES.read_text()))
UNIT = DEPLOY / "systemd" / "tieout.service"
SETTINGS = {f"TIEOUT_{name.upper()}" for name in Settings.model_fields}
DRAIN_SECONDS = 10


def run(*command: str | Path) -> None:
    """Run a linter of the virtualenv or the machine; its words are the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def ours(tool: str) -> Path:
    return Path(sys.executable).parent / tool


def of_kind(kind: str, name: str = "tieout") -> dict[str, Any]:
    (found,) = [it for it in OBJECTS if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    return found


def test_the_containerfile_is_what_hadolint_asks_for() -> None:
    run(ours("hadolint"), "--failure-threshold", "style", DEPLOY / "Containerfile")


def test_the_compose_file_follows_its_specification() -> None:
    run(ours("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


@pytest.mark.parametrize("version", ["1.27.0", "1.34.0", "1.37.0"])
def test_the_manifests_are_what_kubernetes_takes(version: str) -> None:
    run(ours("kubernetes-validate"), "--strict", "--kubernetes-version", version, KUBERNETES)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_one_and_exposes_little(tmp_path: Path) -> None:
    there = UNIT.read_text().replace("/opt/tieout/bin/tieout-server", sys.executable)  # it asks whether it is there
    (tmp_path / UNIT.name).write_text(there)
    run("systemd-analyze", "verify", tmp_path / UNIT.name)
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", tmp_path / UNIT.name)


@pytest.mark.parametrize(
    "path", sorted(it for it in DEPLOY.rglob("*") if it.is_file()), ids=lambda path: str(path.name)
)
def test_every_setting_that_is_named_is_one(path: Path) -> None:
    named = set(re.findall(r"TIEOUT_[A-Z_]*[A-Z]", path.read_text()))
    assert sorted(named - SETTINGS - {"TIEOUT_XERO", "TIEOUT_TARGET"}) == []


@pytest.mark.parametrize(
    "told",
    [COMPOSE["services"]["server"]["environment"], of_kind("ConfigMap")["data"]],
    ids=["compose", "kubernetes"],
)
def test_what_is_set_is_understood(told: dict[str, str]) -> None:
    filled = {name: re.sub(r"\$\{\w+:[?-]([^}]*)\}", r"\1", value) for name, value in told.items()}
    settings = Settings(**{name.removeprefix("TIEOUT_").lower(): value for name, value in filled.items()})  # type: ignore[arg-type] # as from the environment
    assert settings.web_url == told["TIEOUT_WEB_URL"]


def test_all_that_is_started_is_pinned_and_nothing_holds_a_secret() -> None:
    images = re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)
    images += [it["image"] for it in COMPOSE["services"].values()]
    images += [it["image"] for owner in ("Job", "Deployment") for it in _containers(owner)]
    assert [it for it in images if not re.search(r":\d+\.\d+", it)] == []
    assert len(images) >= 9
    text = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".md")
    assert re.findall(r"(?:PASSWORD|TOKEN|KEYS|SECRET)[=:] *(?!\$\{|\?|-sandbox-secret\})[^\s…\\]+", text) == []


def _containers(kind: str) -> list[dict[str, Any]]:
    (owner,) = [it for it in OBJECTS if it["kind"] == kind]
    containers: list[dict[str, Any]] = owner["spec"]["template"]["spec"]["containers"]
    return containers


def test_nothing_runs_as_root_or_writes_where_it_lies() -> None:
    assert re.search(r"^USER 10001:10001$", CONTAINERFILE, re.MULTILINE)
    assert all(it["read_only"] and it["cap_drop"] == ["ALL"] for it in COMPOSE["services"].values())
    for kind in ("Job", "Deployment"):
        (owner,) = [it for it in OBJECTS if it["kind"] == kind]
        assert owner["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in _containers(kind):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_no_memory_is_dumped_where_that_can_be_said() -> None:
    assert "\nLimitCORE=0\n" in UNIT.read_text()
    assert all(it["ulimits"] == {"core": 0} for it in COMPOSE["services"].values())


def test_each_stop_leaves_time_to_drain() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    assert "lifecycle" not in pod["containers"][0], "a preStop is part of the grace period"
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS
    assert int(COMPOSE["services"]["server"]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop
    assert int(stop[1]) > DRAIN_SECONDS
    assert "STOPSIGNAL SIGTERM" in CONTAINERFILE


def test_whatever_selects_pods_selects_those_that_there_are() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [of_kind("Service")["spec"]["selector"], of_kind("Service", "tieout-web")["spec"]["selector"]]
    selectors += [of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    selectors += [of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    assert [it for it in selectors if not it.items() <= labels] == []


def test_prometheus_is_led_to_a_port_that_there_is() -> None:
    monitor = yaml.safe_load((DEPLOY / "kubernetes" / "monitoring.yaml").read_text())
    (scraped,) = monitor["spec"]["podMetricsEndpoints"]
    ports = {it["name"]: it["containerPort"] for it in _containers("Deployment")[0]["ports"]}
    assert of_kind("ConfigMap")["data"]["TIEOUT_METRICS_LISTEN"].endswith(f":{ports[scraped['port']]}")
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"] == labels


def test_only_this_machine_reaches_what_compose_publishes() -> None:
    published = [port for it in COMPOSE["services"].values() for port in it.get("ports", [])]
    assert len(published) == 4
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_sandbox_of_the_compose_file_understands_its_arguments() -> None:
    sandbox = COMPOSE["services"]["sandbox"]
    told: list[str] = [*sandbox["entrypoint"], *sandbox["command"]]
    options = _parser().parse_args(told[1:])
    assert (told[0], options.command, options.port) == ("tieout-sandbox", "serve", 9440)
    assert options.anyone_may_control, "it refuses to listen for others"
    assert not options.webhook_url, "it sends webhooks to its own machine only"


def test_what_the_container_copies_is_let_into_its_context_and_the_wheel_needs_no_more() -> None:
    copied = {
        name for line in re.findall(r"^COPY (?!--)(.*) \S+$", CONTAINERFILE, re.MULTILINE) for name in line.split()
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []
