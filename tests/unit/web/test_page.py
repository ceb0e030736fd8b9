"""The page of an outcome: whatever people type into Xero, or put into an address, stays text."""

from html.parser import HTMLParser

from tieout_server.web.page import Mood, Page, render

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, frozenset[str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, frozenset(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_with(text: str) -> Tags:
    page = Page(
        status=200,
        mood=Mood.SUCCESS,
        heading=text,
        happened=text,
        items=(text,),
        next=text,
        result=text,
        connection_id=text,
        return_url=f"https://app.example/{text}?{text}#{text}",
    )
    return Tags(render(page))


def test_a_name_of_an_organisation_or_an_address_adds_no_tag_and_no_attribute() -> None:
    hostile = page_with(HOSTILE)
    assert hostile.found == page_with("harmless").found
    assert hostile.text.count(HOSTILE) >= 4  # it is shown as it was typed
