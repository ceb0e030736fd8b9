"""Clients that nobody here wrote against the sandbox: which flow works with which, as the tests of them find it.

Run it with `python tests/bench/clients.py`; the figures also go to `results/clients.json`.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLIENTS = ("xero_python", "xero_node", "pyxero", "tap_xero")
FLOWS = {
    "connections": "consent, connections",
    "token_refresh": "token refresh",
    "settings": "organisation, actions, users, accounts, currencies",
    "documents": "every document in lists",
    "single_documents": "documents by id",
    "filters": "paging, where, order, ids, modified since",
    "discovery": "discovery",
    "full_sync": "full sync",
    "incremental_sync": "incremental sync with state",
    "contacts": "contacts made, changed, archived",
    "invoices": "invoices made, changed, voided, history, report",
    "payments": "payments made, refused, deleted",
    "batches": "batch payments",
    "customer_credits": "credits made, allocated, refunded",
    "removed_allocations": "allocations removed",
    "batch_texts": "texts in a payment's batch",
    "errors": "refusals",
    "revocation": "token revoked",
}


class Table:
    """Listens to pytest: what became of each client's flows, how many calls they made and how long that took."""

    def __init__(self) -> None:
        self.flows: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.calls: dict[str, int] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one phase of one test."""
        client = Path(report.location[0]).stem.removeprefix("test_")
        self.seconds[client] += report.duration
        told = dict(report.user_properties)
        self.calls[client] = int(str(told.get("calls", self.calls.get(client, 0))))
        if report.when == "call":
            for name, flow in report.user_properties:
                if name == "flow":
                    self._note(client, str(flow), report.outcome)
        elif report.outcome != "passed":
            self._note(client, "connections", report.outcome)

    def _note(self, client: str, flow: str, outcome: str) -> None:
        words = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
        if self.flows[client].get(flow) != "FAILED":
            self.flows[client][flow] = words[outcome]

    def lines(self) -> list[str]:
        """The table, a client a column."""
        rows = [(words, [self.flows[client].get(flow, "-") for client in CLIENTS]) for flow, words in FLOWS.items()]
        rows.append(("calls", [str(self.calls.get(client, 0)) for client in CLIENTS]))
        rows.append(("seconds", [f"{self.seconds[client]:.1f}" for client in CLIENTS]))
        head = ("", [client.replace("_", "-") for client in CLIENTS])
        return [f"{words:<52}" + "".join(f"{cell:>14}" for cell in cells) for words, cells in [head, *rows]]


def main() -> int:
    """Print the table; the answer is pytest's exit status."""
    table = Table()
    options = ["-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal"]
    status = pytest.main([str(HERE.parent / "xero" / "clients"), *options], plugins=[table])
    print("\n".join(table.lines()))
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    kept = {"flows": table.flows, "calls": table.calls, "seconds": table.seconds}
    (results / "clients.json").write_text(json.dumps(kept, indent=1))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
