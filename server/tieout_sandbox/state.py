"""A sandbox's state as one JSON document: saved, and taken up again by another sandbox or by the same one."""

from __future__ import annotations

import os
import random
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import msgspec

from tieout_sandbox import faults, limits, organisations, settings
from tieout_sandbox.accounting.collections import warm_up
from tieout_sandbox.books import banking, documents
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Contact, Credit, Invoice, Payment
from tieout_sandbox.books.ids import Ids
from tieout_sandbox.faults import FaultRule, checked
from tieout_sandbox.graph import GraphError, Shapes, frozen, thawed
from tieout_sandbox.identity import authority
from tieout_sandbox.limits import Limits
from tieout_sandbox.organisations import Organisation
from tieout_sandbox.webhooks import events, subscription
from tieout_sandbox.webhooks.receiver import check_target
from tieout_sandbox.webhooks.subscription import Subscription

if TYPE_CHECKING:  # the server's control API saves states; only the type goes round in a circle
    from pathlib import Path

    from tieout_sandbox.server import Sandbox

FORMAT = "tieout-sandbox 1"
_NOT_OF_BOOKS = frozenset({"ids", "switches", "observers", "untold", "_now"})
"""What books are made with, not what stands in them."""
_PARTS = frozenset(
    {
        "organisations", "books", "users", "apps", "codes", "refresh_tokens", "connections", "consented", "limits",
        "switches", "faults", "webhooks", "now",
    }
)  # fmt: skip
_RENDERED = frozenset({"rendered"})
_SHAPES = Shapes(
    (documents, banking, organisations, authority, settings, limits, faults, subscription, events),
    {
        Contact: frozenset({"stub"}),
        Invoice: _RENDERED,
        Credit: _RENDERED,
        Payment: _RENDERED,
        Organisation: frozenset({"books"}),
        Limits: frozenset({"_in_flight"}),
        Subscription: frozenset({"deliveries", "rng"}),
    },
)


def dump(sandbox: Sandbox) -> bytes:
    """The state: books, organisations, people, apps, connections, tokens, limits, switches, faults, webhooks, the time.

    Left out is what was seen, not what is: the request log and the webhooks' deliveries. Chances begin at their seed.
    Access tokens are signed by the process, so those from before are answered with 401 elsewhere; refresh tokens go on.
    """
    known = sandbox.authority
    root = {
        "organisations": sandbox.organisations,
        "books": [_contents(organisation.books) for organisation in sandbox.organisations],
        "users": known.users,
        "apps": known.apps,
        "codes": known.codes,
        "refresh_tokens": known.refresh_tokens,
        "connections": known.connections,
        "consented": known.consented,
        "limits": sandbox.limits,
        "faults": sandbox.faults.rules,
        "webhooks": sandbox.webhooks.subscriptions,
        "switches": {field.name: getattr(sandbox.switches, field.name) for field in fields(sandbox.switches)},
        "now": sandbox.clock.now(),
    }
    return msgspec.json.encode({"format": FORMAT} | frozen(root, _SHAPES))


def load(sandbox: Sandbox, saved: bytes) -> None:
    """Take up a saved state; the clock goes on from the later of its time and ours, for it never runs backwards.

    Raises:
        ValueError: it is not one, or of another version; the sandbox is as before.
    """
    root = _checked(saved)
    rules = [checked(msgspec.convert(asdict(rule), FaultRule)) for rule in root["faults"]]
    for found in root["webhooks"].values():
        check_target(found.url)
        found.go_on()
    for organisation, contents in zip(root["organisations"], root["books"], strict=True):
        organisation.books = _books(sandbox, organisation, contents)
    now, known = sandbox.clock.now(), sandbox.authority
    sandbox.clock.advance(max(root["now"], now) - now)
    for name in root["switches"].keys() & {field.name for field in fields(sandbox.switches)}:
        setattr(sandbox.switches, name, root["switches"][name])
    for held, new in (
        (known.organisations, {organisation.id: organisation for organisation in root["organisations"]}),
        (known.users, root["users"]),
        (known.apps, known.apps | root["apps"]),
        (known.codes, root["codes"]),
        (known.refresh_tokens, root["refresh_tokens"]),
        (known.connections, root["connections"]),
        (known.consented, root["consented"]),
    ):
        held.clear()
        held.update(new)
    sandbox.limits.take_up(root["limits"])
    for organisation in sandbox.organisations:
        warm_up(organisation)
        sandbox.webhooks.watch(organisation)
    sandbox.webhooks.take_up(root["webhooks"].values())
    sandbox.faults.rules[:] = rules
    sandbox.faults.seed(sandbox.settings.seed)


def load_file(sandbox: Sandbox, path: Path) -> None:
    """Take up the state in a file; where there is none, nothing happens.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no state, or one of another version.
    """
    if path.exists():
        load(sandbox, path.read_bytes())


def save_file(sandbox: Sandbox, path: Path) -> None:
    """Write the state to a file, which only its owner can read, at once or not at all.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(dump(sandbox))
    beside.replace(path)


def copy_of(books: Books) -> Books:
    """The same books a second time, sharing no document with the first, and watched by nobody."""
    contents = thawed(frozen(_contents(books), _SHAPES), _SHAPES)
    copied = Books(books.base_currency, books.rates, books.ids, books._now, books.switches)  # noqa: SLF001 the clock of both
    vars(copied).update(contents)
    return copied


def _checked(saved: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(saved)
    except msgspec.DecodeError as error:
        raise GraphError(f"This is no saved state: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise GraphError(f"This is no saved state of the kind {FORMAT!r}.")
    root = thawed(value, _SHAPES)
    if not isinstance(root, dict) or _PARTS - root.keys() or len(root["organisations"]) != len(root["books"]):
        raise GraphError("This state is not whole.")
    return root


def _contents(books: Books) -> dict[str, Any]:
    return {name: value for name, value in vars(books).items() if name not in _NOT_OF_BOOKS}


def _books(sandbox: Sandbox, organisation: Organisation, contents: dict[str, Any]) -> Books:
    """The saved books, whose ids go on differently from any others, and whose revision nobody has seen."""
    before = sandbox.authority.organisations.get(organisation.id)
    seen = before.books.revision if before else 0
    ids = Ids(random.Random(f"{organisation.id} {contents['revision']} {seen}"))  # noqa: S311 made-up data has to be repeatable
    books = Books(contents["base_currency"], contents["rates"], ids, sandbox.clock.now, sandbox.switches)
    vars(books).update(contents)
    books.revision = max(books.revision, seen) + 1
    return books
