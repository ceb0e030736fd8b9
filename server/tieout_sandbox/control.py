"""The control API under `/sandbox`: JSON in, JSON out, for tests and for people; README.md has the table.

It is not protected: whoever reaches the port may turn the clock, break the API and change the books.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp import web

from tieout_sandbox.books.causes import Cause, bring_about, meanings, put_right
from tieout_sandbox.books.documents import Role
from tieout_sandbox.books.rules import NotAllowedError, NotFoundError
from tieout_sandbox.books.truth import compact_truth, state_of
from tieout_sandbox.faults import FaultRule
from tieout_sandbox.identity.requests import RefusedRequestError, read_authorisation
from tieout_sandbox.identity.scopes import SCOPES_IN_WORDS
from tieout_sandbox.limits import Problem, Quota
from tieout_sandbox.state import dump, load
from tieout_sandbox.switches import described, set_switch

if TYPE_CHECKING:  # the server makes both; only the types go round in a circle
    from tieout_sandbox.organisations import Organisation, User
    from tieout_sandbox.server import Sandbox

MUTATIONS = frozenset(
    {
        "create_contact", "rename_contact", "archive_contact", "restore_contact", "merge_contact", "erase_contact",
        "create_invoice", "edit_invoice", "authorise", "delete_invoice", "void",
        "pay", "refund", "delete_payment", "create_credit", "allocate", "void_credit",
        "delete_batch", "edit_account",
    }
)  # fmt: skip
"""The moves of Books that can be asked for by name; the arguments are the method's own."""
_FILTERS = (
    "path", "method", "status", "organisation", "client_id", "limit_problem", "after", "since", "last", "count",
)  # fmt: skip
_Answer = Callable[[web.Request], Awaitable[web.Response]]


class ControlRoutes:
    """The control API of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def add_to(self, app: web.Application) -> None:
        """Register every path; what a caller got wrong is answered with 400 and a sentence."""
        routes: list[tuple[str, str, _Answer]] = [
            ("GET", "/sandbox", self.overview),
            ("GET", "/sandbox/clock", self.clock),
            ("POST", "/sandbox/clock", self.set_clock),
            ("GET", "/sandbox/requests", self.requests),
            ("DELETE", "/sandbox/requests", self.clear_requests),
            ("GET", "/sandbox/egress", self.egress),
            ("GET", "/sandbox/state", self.state),
            ("PUT", "/sandbox/state", self.load_state),
            ("GET", "/sandbox/books/{organisation}", self.books),
            ("POST", "/sandbox/books/{organisation}/{move}", self.move),
            ("GET", "/sandbox/books/{organisation}/causes", self.causes),
            ("DELETE", "/sandbox/books/{organisation}/causes", self.put_right),
            ("POST", "/sandbox/books/{organisation}/causes/{cause}", self.bring_about),
            ("POST", "/sandbox/churn", self.churn),
            ("POST", "/sandbox/latency", self.latency),
            ("POST", "/sandbox/lag", self.lag),
            ("POST", "/sandbox/limits", self.limits),
            ("POST", "/sandbox/limits/exhaust", self.exhaust),
            ("GET", "/sandbox/switches", self.switches),
            ("POST", "/sandbox/switches", self.set_switches),
            ("GET", "/sandbox/faults", self.faults),
            ("POST", "/sandbox/faults", self.add_fault),
            ("DELETE", "/sandbox/faults", self.clear_faults),
            ("POST", "/sandbox/consent", self.consent),
            ("POST", "/sandbox/users/{user}/revoke", self.revoke),
            ("POST", "/sandbox/users/{user}/narrow", self.narrow),
            ("POST", "/sandbox/organisations/{organisation}/disconnect", self.disconnect),
            ("POST", "/sandbox/organisations/{organisation}/delete", self.delete_organisation),
            ("POST", "/sandbox/organisations/{organisation}/reset", self.reset_organisation),
            ("POST", "/sandbox/organisations/{organisation}/standing", self.set_standing),
            ("POST", "/sandbox/organisations/{organisation}/roles", self.set_role),
            ("POST", "/sandbox/organisations/{organisation}/lock-dates", self.set_lock_dates),
        ]
        for method, path, answer in routes:
            app.router.add_route(method, path, _explaining(answer))

    async def overview(self, request: web.Request) -> web.Response:
        """What there is; a browser is sent to the page."""
        if "text/html" in request.headers.get("Accept", ""):
            return web.Response(status=303, headers={"Location": "/"})
        authority = self._sandbox.authority
        return _json(
            {
                "now": self._sandbox.clock.now().isoformat(),
                "organisations": [{"id": o.id, "name": o.name} for o in authority.organisations.values()],
                "users": [{"id": user.id, "email": user.email} for user in authority.users.values()],
                "connections": [
                    {"id": c.id, "client_id": c.client_id, "user": c.user.email, "organisation": c.organisation.name}
                    for c in authority.connections.values()
                ],
                "switches": asdict(self._sandbox.switches),
            }
        )

    async def clock(self, _request: web.Request) -> web.Response:
        """What time it is."""
        clock = self._sandbox.clock
        return _json({"now": clock.now().isoformat(), "speed": clock.speed})

    async def set_clock(self, request: web.Request) -> web.Response:
        """Set `speed`, and jump ahead by `advance_seconds`."""
        given = await _body(request, "speed", "advance_seconds")
        if "speed" in given:
            self._sandbox.clock.speed = float(given["speed"])
        self._sandbox.clock.advance(timedelta(seconds=float(given.get("advance_seconds", 0))))
        return await self.clock(request)

    async def requests(self, request: web.Request) -> web.Response:
        """The log, or what matches; `last` gives only that many of it, `count=1` only counts."""
        query = request.query
        _check_names(query, _FILTERS)
        found = self._sandbox.requests.find(
            path=query.get("path", ""),
            method=query.get("method"),
            status=int(query["status"]) if "status" in query else None,
            organisation_id=self._organisation(query["organisation"]).id if "organisation" in query else None,
            client_id=query.get("client_id"),
            limit_problem=query.get("limit_problem"),
            after=int(query.get("after", "0")),
            since=_instant(query["since"]) if "since" in query else None,
        )
        answer: dict[str, Any] = {"count": len(found)}
        if "count" not in query:
            last = int(query.get("last", "0"))
            answer["requests"] = [asdict(entry) for entry in found[-last:]]  # [-0:] is all of it
        return _json(answer)

    async def egress(self, _request: web.Request) -> web.Response:
        """How many bytes each app drew from Xero, as its bill counts them."""
        log, switches = self._sandbox.requests, self._sandbox.switches
        kinds = {"counts_writes": switches.egress_counts_writes, "counts_compressed": switches.egress_counts_compressed}
        return _json({client_id: log.egress(client_id, **kinds) for client_id in self._sandbox.authority.apps})

    async def clear_requests(self, _request: web.Request) -> web.Response:
        """Forget the requests so far."""
        self._sandbox.requests.clear()
        return _json({})

    async def state(self, _request: web.Request) -> web.Response:
        """The whole state, to be kept and put back."""
        return web.Response(body=dump(self._sandbox), content_type="application/json")

    async def load_state(self, request: web.Request) -> web.Response:
        """Take up a state as it was got; it may be larger than what Xero takes."""
        load(self._sandbox, await request.content.read())
        return _json({})

    async def books(self, request: web.Request) -> web.Response:
        """The truth about an organisation's books."""
        return _json(compact_truth(self._organisation(request.match_info["organisation"]).books))

    async def move(self, request: web.Request) -> web.Response:
        """Change the books: the path names the move, the body its arguments; the answer is the document's new state."""
        organisation = self._organisation(request.match_info["organisation"])
        name = request.match_info["move"]
        if name not in MUTATIONS:
            raise ValueError(f"There is no move {name!r}; there are {', '.join(sorted(MUTATIONS))}.")
        method = getattr(organisation.books, name)
        return _json(state_of(method(**_arguments(method, await _body(request)))))

    async def causes(self, _request: web.Request) -> web.Response:
        """What can make a balance differ here, each with what it does."""
        return _json({str(cause): meaning for cause, meaning in meanings()})

    async def bring_about(self, request: web.Request) -> web.Response:
        """Make the balance of a contact (`contact`: id or name; default the first that suits) differ for this cause."""
        organisation, given = self._organisation(request.match_info["organisation"]), await _body(request, "contact")
        contact_id = organisation.books.contact_named(given["contact"]).id if given.get("contact") else None
        deed = bring_about(organisation.books, Cause(request.match_info["cause"].upper()), contact_id)
        documents = [state_of(document) for document in deed.documents]
        answer = {"cause": deed.cause, "contact_id": deed.contact.id, "contact": deed.contact.name, "said": deed.said}
        return _json(answer | {"documents": documents})

    async def put_right(self, request: web.Request) -> web.Response:
        """Let every contact's figure follow its documents again."""
        return _json({"put_right": put_right(self._organisation(request.match_info["organisation"]).books)})

    async def churn(self, request: web.Request) -> web.Response:
        """Switch churn `on` or off."""
        self._sandbox.churn.on = bool((await _body(request, "on")).get("on", True))
        return _json({"on": self._sandbox.churn.on, "changes": self._sandbox.churn.changes})

    async def latency(self, request: web.Request) -> web.Response:
        """Let every API call take this many real `milliseconds`."""
        self._sandbox.accounting.latency_ms = float((await _body(request, "milliseconds"))["milliseconds"])
        return _json({"milliseconds": self._sandbox.accounting.latency_ms})

    async def lag(self, request: web.Request) -> web.Response:
        """Let reads show the books as they were this many `seconds` ago; 0 ends it."""
        sandbox, lag = self._sandbox, timedelta(seconds=float((await _body(request, "seconds"))["seconds"]))
        sandbox.accounting.lag.begin(lag, sandbox.organisations, sandbox.clock.now())
        return _json({"seconds": lag.total_seconds()})

    async def limits(self, request: web.Request) -> web.Response:
        """Change `in_flight`, `minute`, `day`, `app_minute` or `records`."""
        quota = self._sandbox.limits.quota
        given = await _body(request, *(field.name for field in fields(Quota)))
        given = msgspec.convert(given, dict[str, int])
        self._sandbox.limits.quota = replace(quota, **given)
        return _json(asdict(self._sandbox.limits.quota))

    async def exhaust(self, request: web.Request) -> web.Response:
        """Use up what an app (`client_id`, default the first) has left of `limit` (minute, day) at `organisation`."""
        given, sandbox = await _body(request, "organisation", "limit", "client_id"), self._sandbox
        organisation = self._organisation(given["organisation"])
        app = sandbox.authority.apps[given.get("client_id", sandbox.settings.apps[0].client_id)]
        refusal = sandbox.limits.exhaust(
            Problem(given.get("limit", Problem.DAY)), organisation.id, app.client_id, sandbox.clock.now()
        )
        return _json({"limit": refusal.problem, "retry_after": refusal.retry_after})

    async def switches(self, _request: web.Request) -> web.Response:
        """Every switch: name, value, default, meaning, source, and whether anything follows it yet."""
        return _json({"switches": list(described(self._sandbox.switches))})

    async def set_switches(self, request: web.Request) -> web.Response:
        """Answer open questions of Xero's behaviour another way: all that are given, or none."""
        switches = self._sandbox.switches
        tried = replace(switches)
        given = await _body(request)
        for name, value in given.items():
            set_switch(tried, name, value)
        for name, value in given.items():
            set_switch(switches, name, value)
        return _json(asdict(switches))

    async def faults(self, _request: web.Request) -> web.Response:
        """The rules in force."""
        return _json([asdict(rule) for rule in self._sandbox.faults.rules])

    async def add_fault(self, request: web.Request) -> web.Response:
        """Make the next calls fail; `seed` begins the chances of all rules again."""
        given = await _body(request, "seed", *(field.name for field in fields(FaultRule)))
        if "seed" in given:
            self._sandbox.faults.seed(int(given.pop("seed")))
        if given.get("organisation"):
            given["organisation"] = self._organisation(given["organisation"]).id
        rule = msgspec.convert(given, FaultRule)
        return _json(asdict(self._sandbox.faults.add(rule)))

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """Drop all rules."""
        self._sandbox.faults.clear()
        return _json({})

    async def consent(self, request: web.Request) -> web.Response:
        """Do what a person at the authorise page would do, and say where the browser would go; nobody goes there.

        Body: `authorization_url`, `decision` (allow or deny), `organisations` (names or ids; default the first that the
        user may connect), `user` (email; default the first user).
        """
        given = await _body(request, "authorization_url", "decision", "organisations", "user")
        sandbox = self._sandbox
        asked = read_authorisation(dict(parse_qsl(urlsplit(given["authorization_url"]).query)), sandbox.authority)
        user = self._user(given["user"]) if given.get("user") else next(iter(sandbox.authority.users.values()))
        if given.get("decision", "allow") != "allow":
            return _json({"redirect_to": asked.redirect(error="access_denied")})
        choices = [found for found, _ in sandbox.authority.offered_to(user, asked.app)]
        chosen = [self._organisation(name) for name in given.get("organisations") or []] or choices[:1]
        connectable = sandbox.authority.organisations_for(user)
        out_of_reach = [found.name for found in chosen if found not in connectable]
        chosen = [found for found in chosen if found in choices]
        if out_of_reach or not (chosen or sandbox.authority.can_agree_to_nothing(user)):
            raise ValueError(f"{user.email} may not connect {', '.join(out_of_reach) or 'anything'}.")
        return _json({"redirect_to": sandbox.authority.agreed(asked, user, chosen)})

    async def revoke(self, request: web.Request) -> web.Response:
        """Take back all that a user consented to."""
        self._sandbox.authority.revoke_user(self._user(request.match_info["user"]).id)
        return _json({})

    async def narrow(self, request: web.Request) -> web.Response:
        """Take `scopes` (a list) out of all that a user consented to, from the next refresh on."""
        scopes = msgspec.convert((await _body(request, "scopes"))["scopes"], list[str])
        unknown = [scope for scope in scopes if scope not in SCOPES_IN_WORDS]
        if unknown:
            raise ValueError(f"There is no scope {', '.join(unknown)}.")
        self._sandbox.authority.narrow(self._user(request.match_info["user"]).id, scopes)
        return _json({})

    async def disconnect(self, request: web.Request) -> web.Response:
        """Disconnect an organisation as its administrator would in Xero: every app and user loses it."""
        organisation = self._organisation(request.match_info["organisation"])
        authority = self._sandbox.authority
        gone = [held.id for held in authority.connections.values() if held.organisation is organisation]
        for connection_id in gone:
            authority.disconnect(connection_id)
        return _json({"disconnected": gone})

    async def delete_organisation(self, request: web.Request) -> web.Response:
        """Delete an organisation for good; whoever was connected is answered with 403."""
        self._sandbox.authority.delete_organisation(self._organisation(request.match_info["organisation"]))
        return _json({})

    async def reset_organisation(self, request: web.Request) -> web.Response:
        """Reset an organisation as a demo company: fresh books, another id, connected to nothing."""
        organisation = self._organisation(request.match_info["organisation"])
        self._sandbox.reset(organisation)
        return _json({"id": organisation.id, "name": organisation.name})

    async def set_standing(self, request: web.Request) -> web.Response:
        """Make an organisation `closed`, as when its subscription lapses, or `demo`, or neither any more."""
        organisation = self._organisation(request.match_info["organisation"])
        given = await _body(request, "closed", "demo")
        organisation.is_closed = msgspec.convert(given.get("closed", organisation.is_closed), bool)
        organisation.is_demo = msgspec.convert(given.get("demo", organisation.is_demo), bool)
        return _json({"closed": organisation.is_closed, "demo": organisation.is_demo})

    async def set_role(self, request: web.Request) -> web.Response:
        """Give `user` (email) another `role`; REMOVED takes the user out."""
        organisation = self._organisation(request.match_info["organisation"])
        given = await _body(request, "user", "role")
        user, role = self._user(given["user"]), Role(given["role"])
        organisation.set_role(user.id, role, self._sandbox.clock.now())
        return _json({"user": user.email, "role": role})

    async def set_lock_dates(self, request: web.Request) -> web.Response:
        """Set `period` and `end_of_year` lock dates (ISO dates or null)."""
        organisation = self._organisation(request.match_info["organisation"])
        given = await _body(request, "period", "end_of_year")
        organisation.period_lock_on = date.fromisoformat(given["period"]) if given.get("period") else None
        organisation.end_of_year_lock_on = (
            date.fromisoformat(given["end_of_year"]) if given.get("end_of_year") else None
        )
        return _json({"period": organisation.period_lock_on, "end_of_year": organisation.end_of_year_lock_on})

    def _organisation(self, wanted: str) -> Organisation:
        return self._sandbox.organisation(wanted)

    def _user(self, email: str) -> User:
        user = self._sandbox.authority.user_by_email(email)
        if user is None:
            raise KeyError(email)
        return user


def _explaining(answer: _Answer) -> _Answer:
    """Turn what a caller got wrong into a status and a sentence."""

    async def explained(request: web.Request) -> web.Response:
        try:
            return await answer(request)
        except (NotFoundError, KeyError) as error:
            return _json({"error": f"Not found or not given: {error}"}, 404)
        except (NotAllowedError, RefusedRequestError, ValueError, TypeError, OverflowError, re.error) as error:
            return _json({"error": str(error)}, 400)

    return explained


async def _body(request: web.Request, *known: str) -> dict[str, Any]:
    """What was sent; a name that is none of the known ones must not pass for one that was left out."""
    given = msgspec.json.decode(await request.read() or b"{}")
    if not isinstance(given, dict):
        raise TypeError("The body must be a JSON object.")
    if known:
        _check_names(given, known)
    return given


def _check_names(given: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = given.keys() - set(known)
    if unknown:
        raise ValueError(f"Unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}.")


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _arguments(method: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The body's values as what the method's parameters are: amounts, dates, kinds."""
    wanted = get_type_hints(method)
    del wanted["return"]
    _check_names(given, wanted)
    return {name: msgspec.convert(value, wanted[name]) for name, value in given.items()}


def _json(value: object, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(status=status, body=body, content_type="application/json")
