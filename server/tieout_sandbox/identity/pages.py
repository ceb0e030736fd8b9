"""The pages a person sees when an app asks for consent: plain HTML, no script, nothing loaded from elsewhere."""

from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from tieout_sandbox.books.documents import Role
from tieout_sandbox.identity.requests import AuthorisationRequest, RefusedRequestError
from tieout_sandbox.identity.scopes import SCOPES_IN_WORDS
from tieout_sandbox.organisations import Organisation, User

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --quiet: #55636f; --page: #eef2f5; --card: #fff; --line: #c9d2da;
  --accent: #0a6e8a; --on-accent: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eef2; --quiet: #a6b3bd; --page: #12181d; --card: #1c252c;
  --line: #3b4852; --accent: #5cc3df; --on-accent: #08222b; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 0 auto; padding: 1.5rem 2rem 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: .5rem 0 1rem; } h2, legend { font-size: 1rem; font-weight: 600; }
.note { color: var(--quiet); font-size: .9rem; } ul { padding-left: 1.25rem; } fieldset { border: 1px solid var(--line);
  border-radius: .5rem; margin: 1rem 0; padding: .5rem 1rem 1rem; } label { display: block; padding: .35rem 0; }
input { accent-color: var(--accent); margin-right: .6rem; } a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.alert { border-left: 4px solid var(--accent); padding-left: .75rem; }
.actions { display: flex; gap: .75rem; flex-wrap: wrap; }
button { font: inherit; padding: .6rem 1.4rem; border-radius: .5rem;
  border: 1px solid var(--accent); background: transparent; color: var(--accent); cursor: pointer; }
button.allow { background: var(--accent); color: var(--on-accent); } button:disabled { opacity: .5; cursor: default; }
"""
_ROLE_NAMES = {
    Role.READONLY: "Read only",
    Role.INVOICEONLY: "Invoice only",
    Role.STANDARD: "Standard",
    Role.FINANCIALADVISER: "Adviser",
    Role.REMOVED: "Removed",
}
"""As Xero's screens call them."""


def consent_page(
    request: AuthorisationRequest,
    params: Mapping[str, str],
    user: User,
    others: list[tuple[User, list[Role]]],
    organisations: list[tuple[Organisation, bool]],
    *,
    several: bool,
    may_agree: bool,
    problem: str = "",
) -> str:
    """Who asks, for what, on which organisations.

    Args:
        request: what the app asks for.
        params: its parameters as sent; the form carries them along.
        user: who is signed in.
        others: who else could be, and in which roles.
        organisations: what the user may connect, and whether it already is.
        several: whether more than one may be chosen.
        may_agree: whether there is anything to agree to.
        problem: why what was chosen before did not do.
    """
    hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in params.items())
    name = escape(request.app.name)
    return _page(
        f"{name} wants access",
        f"""<p class="note">Xero sandbox: nothing here is real.</p>
<h1>{name} wants access to your organisation&rsquo;s data</h1>
<p>Signed in as <strong>{escape(user.name)}</strong> ({escape(user.email)}).</p>
<form method="post" action="/identity/connect/authorize">{hidden}
<input type="hidden" name="user" value="{escape(user.email)}">
{_alert(problem)}{_picker(organisations, user, several=several, may_agree=may_agree)}
{_scopes(request) if may_agree else ""}
<div class="actions">{_ALLOW if may_agree else ""}
<button name="decision" value="deny">Cancel</button></div></form>
<h2>Continue as somebody else</h2><ul>{_other_users(params, others)}</ul>""",
    )


_ALLOW = '<button class="allow" name="decision" value="allow">Allow access</button>'


def _alert(problem: str) -> str:
    return f'<p role="alert" class="alert"><strong>{escape(problem)}.</strong></p>' if problem else ""


def _scopes(request: AuthorisationRequest) -> str:
    words = "".join(f"<li>{escape(SCOPES_IN_WORDS[scope])}</li>" for scope in request.scopes)
    return f"<h2>{escape(request.app.name)} will be able to</h2><ul>{words}</ul>"


def error_page(refused: RefusedRequestError) -> str:
    """A request that cannot be shown to the user: nobody is redirected anywhere."""
    return _page(
        "Sorry, something went wrong",
        f"""<h1>Sorry, something went wrong</h1>
<p>The app&rsquo;s request was not accepted, so you were not sent back to it.</p>
<p>Error: <strong>{escape(refused.error)}</strong><br>{escape(refused.explanation)}</p>""",
    )


def _picker(organisations: list[tuple[Organisation, bool]], user: User, *, several: bool, may_agree: bool) -> str:
    if not organisations and may_agree:
        return "<p><strong>Whatever you may connect is connected already.</strong> You can allow access anew.</p>"
    if not organisations:
        return "<p><strong>There is nothing that you may connect.</strong> It takes the role Standard or Adviser.</p>"
    kind = "checkbox" if several else "radio"
    choices = "".join(
        f'<label><input type="{kind}" name="organisation" value="{escape(found.id)}"{" checked" if index == 0 else ""}>'
        f"{escape(found.name)} <span class=note>as {_ROLE_NAMES[found.role_of(user.id)]}"
        f"{', connected already' if connected else ''}</span></label>"
        for index, (found, connected) in enumerate(organisations)
    )
    return f"<fieldset><legend>Choose the organisation{'s' if several else ''}</legend>{choices}</fieldset>"


def _other_users(params: Mapping[str, str], others: list[tuple[User, list[Role]]]) -> str:
    return "".join(
        f'<li><a href="?{escape(urlencode({**params, "user": other.email}))}">{escape(other.name)}</a>'
        f" <span class=note>{' or '.join(_ROLE_NAMES[role] for role in roles)}</span></li>"
        for other, roles in others
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
