"""The dashboard, the alerts and the page for operators speak of the metrics that there are, and of all of them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram, Info

from tieout_server import measures

OPERATIONS = Path(__file__).parents[2] / "server" / "operations"
ALERTS, DASHBOARD, PAGE = (
    OPERATIONS / "alerts.yaml",
    OPERATIONS / "grafana-dashboard.json",
    OPERATIONS / "observability.md",
)
PROMETHEUS_OWN = {"up"}
SERIES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}
ADDED = {"job", "instance", "le"}
"""Labels that Prometheus adds by itself, and the one of buckets."""


def kinds() -> dict[str, tuple[str, set[str]]]:
    """Our metrics by the name that the page has: the type, and the labels."""
    found = {}
    for metric in vars(measures).values():
        if isinstance(metric, Counter | Gauge | Histogram | Info):
            [family] = metric.describe()
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = {"version", "revision"} if family.type == "info" else set(metric._labelnames)
            found[family.name + suffix] = (family.type, labels)
    return found


def series() -> dict[str, set[str]]:
    """The names that can be asked for, with their labels."""
    found: dict[str, set[str]] = {}
    for name, (kind, labels) in kinds().items():
        stem = name.removesuffix("_total").removesuffix("_info") if kind in ("counter", "info") else name
        found |= {stem + suffix: labels for suffix in SERIES[kind]}
    for family in measures.REGISTRY.collect():
        found |= {sample.name: set(sample.labels) for sample in family.samples if sample.name not in found}
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The series that an expression asks for, and the labels by which it chooses among them."""
    for name, chosen in re.findall(r"\b((?:tieout|process|python)_\w+|up\b)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_whatever_is_asked_for_exists_with_its_labels(expression: str) -> None:
    known, found = series(), list(asked(expression))
    assert found
    for name, labels in found:
        if name not in PROMETHEUS_OWN:
            assert name in known
            assert labels <= known[name] | ADDED
        grouped = re.findall(r"\bby \(([^)]*)\)", expression)
        every = {label for name, _ in found for label in known.get(name, set())} | ADDED
        assert {label.strip() for group in grouped for label in group.split(",")} <= every


def left_by(expression: str) -> set[str]:
    """The labels that its result has."""
    if groups := re.findall(r"\bby \(([^)]*)\)", expression):
        return {label.strip() for group in groups for label in group.split(",")}
    if re.search(r"\b(?:sum|max|min|avg|count)\(", expression):
        return set()
    known = series()
    return ADDED.union(*(known.get(name, set()) for name, _ in asked(expression)))


def test_legends_and_summaries_name_labels_that_the_results_have() -> None:
    legends = [
        (target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"])))
        for panel in panels()
        for target in panel["targets"]
        if "legendFormat" in target
    ]
    summaries = [
        (rule["expr"], set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))) for rule in alerts()
    ]
    assert legends
    assert [(expression, named) for expression, named in legends + summaries if not named <= left_by(expression)] == []


def test_every_metric_is_on_the_page_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(tieout_\w+)` \| (\w+) \| ([^|]*) \| \S[^|]* \|$", PAGE.read_text(), re.MULTILINE)
    assert {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == kinds()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name, _ in asked(target["expr"])}
    stems = {name.removesuffix("_bucket") for name in shown}
    assert kinds().keys() - stems - {"tieout_database_up"} == set()


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    found = alerts()
    assert len({rule["alert"] for rule in found}) == len(found) > 10
    for rule in found:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".") or "{{" in rule["annotations"]["summary"]
        assert len(rule["annotations"]["runbook"].split()) > 10


def test_panels_do_not_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(("does", "file"), [("check", ALERTS), ("test", Path(__file__).with_name("alerts.test.yaml"))])
def test_prometheus_takes_the_alerts_and_they_fire_when_they_should(does: str, file: Path) -> None:
    done = subprocess.run(["promtool", does, "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
