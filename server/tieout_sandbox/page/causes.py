"""The card that makes balances differ: each cause with one click."""

from tieout_sandbox.books.causes import meanings
from tieout_sandbox.books.documents import Contact
from tieout_sandbox.page.html import Html, join, tag
from tieout_sandbox.page.view import View, about, card, form


def causes(view: View, found: Contact | None = None) -> Html:
    """The card, about one contact or about the first that suits."""
    whom = found.name if found else "the first customer whose documents allow it"
    return card(
        "Bring about",
        tag(
            "p",
            f"Lets Xero's balance of {whom} differ from what an app has read, each time for another cause.",
            class_="note",
        ),
        tag("ul", [_cause(view, cause, meaning, found) for cause, meaning in meanings()], class_="switches"),
        form(view, "put-figures-right", "Put all figures right", quiet=True),
    )


def _cause(view: View, cause: str, meaning: str, found: Contact | None) -> Html:
    words = cause.replace("_", " ").capitalize()
    hidden = {"contact_id": found.id} if found else {}
    return tag(
        "li",
        tag("div", tag("p", words), tag("p", join(meaning, "."), class_="note")),
        form(view, "bring-about", about("Bring about", words), cause=cause, quiet=True, **hidden),
    )
