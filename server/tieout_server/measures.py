"""What this process counts about itself, for Prometheus; `server/operations/observability.md` says what each means.

Whoever does something counts it where it is done. No label is ever an id: how many series there are does not depend on
how many connections there are.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, ProcessCollector

REGISTRY = CollectorRegistry()
"""Everything below, and the figures of the process: CPU, memory, open files, garbage."""
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Buckets in seconds for what happens in here."""
SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Buckets in seconds for what has to do with Xero."""


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(name, meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=buckets)


BUILD = Info(
    "tieout_build", "Which version runs, and the revision of the database that it works with.", registry=REGISTRY
)

RPCS = _counter("tieout_rpc", "Calls that have ended, streams included.", "method", "status")
RPC_SECONDS = _histogram("tieout_rpc_seconds", "How long calls took that are no streams.", "method", buckets=QUICK)
STREAMS = _gauge("tieout_rpc_streams_open", "Streams that are open now.", "method")

WEB_REQUESTS = _counter("tieout_web_requests", "Requests to the web server, webhooks among them.", "route", "status")
WEB_SECONDS = _histogram("tieout_web_seconds", "How long they took.", "route", buckets=QUICK)

XERO_CALLS = _counter("tieout_xero_calls", "Calls that were sent to Xero, by what became of them.", "purpose", "result")
XERO_SECONDS = _histogram("tieout_xero_seconds", "From sending a call to its last byte.", "purpose", buckets=SLOW)
XERO_WAITED = _histogram(
    "tieout_xero_waited_seconds", "How long a call waited for limits and tokens before it was sent.", "purpose",
    buckets=SLOW,
)  # fmt: skip
XERO_BYTES = _counter("tieout_xero_bytes", "Bytes of answers, as they travelled and once decompressed.", "measure")
XERO_REFUSED = _counter("tieout_xero_refused_by_limit", "Calls that Xero refused with 429, by the limit.", "limit")
XERO_LEFT_DAY = _histogram(
    "tieout_xero_left_today", "Calls that an organisation had left today, as each answer told.",
    buckets=(0, 50, 100, 250, 500, 1000, 2500, 5000),
)  # fmt: skip
XERO_LEFT_MINUTE = _histogram(
    "tieout_xero_left_this_minute", "Calls that an organisation had left in its minute, as each answer told.",
    buckets=(0, 5, 10, 20, 30, 40, 50, 60),
)  # fmt: skip
XERO_APP_LEFT = _gauge("tieout_xero_app_left_this_minute", "Calls that the app had left in its minute, as last told.")

TASKS = _counter("tieout_work", "Slices of work that have ended.", "kind", "outcome")
TASK_SECONDS = _histogram("tieout_work_seconds", "How long a slice took.", "kind", buckets=SLOW)
TASKS_IN_HAND = _gauge("tieout_work_in_hand", "Slices that this process does now.", "kind")

LOOP_LAG = _histogram(
    "tieout_event_loop_lag_seconds", "How late the event loop came to what was due, looked at twice a second.",
    buckets=QUICK,
)  # fmt: skip

DATABASE_UP = _gauge("tieout_database_up", "1 while the database answers and has the tables of this version.")
DATABASE_TROUBLE = _counter("tieout_database_unavailable", "Transactions that ended because the database was away.")
POOL_IN_USE = _gauge("tieout_database_connections_in_use", "Connections to the database that are in use.")
POOL_SIZE = _gauge("tieout_database_connections_limit", "Connections to the database at most.")
REPLICAS = _gauge("tieout_replicas", "Processes that share the work, as of the last sign of life.")
AT_HOME = _gauge("tieout_organisations_at_home", "Organisations whose calls this process makes.")

# Read from the database, so each process tells the same.
CONNECTIONS = _gauge("tieout_connections", "Connections.", "state", "health", "reason")
OLDEST_READ = _gauge(
    "tieout_sync_oldest_seconds", "Since the connected organisation that was read longest ago.", "entity"
)
OVERDUE = _gauge("tieout_sync_overdue", "Connected organisations whose next read is late by 10 minutes.", "entity")
EXPORTS = _gauge("tieout_exports", "Payment exports.", "xero_status")
OLDEST_EXPORT = _gauge("tieout_exports_oldest_seconds", "Age of the oldest payment export.", "xero_status")
DUE = _gauge("tieout_work_due", "Tasks that are due and in nobody's hands.", "kind")
LATE = _gauge("tieout_work_late_seconds", "By how much the one that waits longest is late.", "kind")
WAITING = _gauge(
    "tieout_webhooks_waiting", "Kept deliveries that are not sorted, and documents not fetched yet.", "where"
)
WAITING_SECONDS = _gauge("tieout_webhooks_waiting_seconds", "How long the first of them waits.", "where")
TOKENS_LAPSING = _gauge("tieout_tokens_lapsing", "Xero users of working connections whose tokens lapse within 14 days.")
TALLIED_AT = _gauge("tieout_tallied_timestamp_seconds", "When the figures that come from the database were read.")
