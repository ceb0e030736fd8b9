"""Where the callback page may send people on to: nobody can be led astray by an address that only looks right."""

import pytest

from tieout_server.connections.return_urls import ReturnUrlAllowError, ReturnUrls
from tieout_server.errors import InvalidRequestError

URLS = ReturnUrls("https://app.example/settings, https://other.example")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://localhost:3000/done",
        "http://127.0.0.1/",
        "http://[::1]:8080/x",
        "https://app.example/settings",
        "https://app.example/settings/xero?from=tieout",
        "https://app.example/settings?tab=xero",
        "https://other.example/anything",
    ],
)
def test_loopback_and_what_lies_under_an_allowed_prefix_may_be_returned_to(url: str) -> None:
    URLS.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://app.example/settings-of-somebody-else",
        "https://app.example/",
        "https://other.example.evil/",
        "https://other.example@evil.example/",
        "https://localhost@evil.example/",
        "http://localhost.evil.example/",
        "http://other.example/",
        "javascript:alert(1)",
        "//localhost/x",
        "http:localhost",
        "https://localhost\\@evil.example/",
        "http://[::1",
        "data:text/html,x",
        "localhost:3000",
        "https://app.example/settings/../admin/logout",
        "https://app.example/settings/%2e%2E/admin",
        "https://app.example/settings/.%2e/admin",
        "https://app.example/settings/..",
        "https://app.example/settings/./x",
        "https://app.example/settings/%2e%2e%2fadmin",
        "https://app.example/settings/..%5cadmin",
        "https://other.example:8443/",
        "https://other.example:x/",
        "https://other.example\\.evil.example/",
        "https://other.example%2eevil.example/",
        "https://other.example%40evil.example/",
        "https://other.example\u3002evil.example/",
        "https://\u24deother.example/",
        "https://other.ex\u0430mple/",
        "https://other.example\r\n.evil.example/",
        "https://other.example/\r\nSet-Cookie: a=b",
        "https://other.example/a b",
        "https://other.example/\t../x",
        "http://loc\nalhost/",
        " https://other.example/",
        "http://127.0.0.1.evil.example/",
        "http://2130706433/",
        "http://0.0.0.0/",
        "http:///localhost/",
        "https:other.example/",
        "https:/other.example/",
        "file://localhost/etc/passwd",
        "vbscript://localhost/x",
        "JAVASCRIPT://localhost/%0aalert(1)",
        "//other.example/",
        "/settings",
        "\x00https://other.example/",
    ],
)
def test_no_other_address_is(url: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        URLS.check(url)
    assert [violation.field for violation in refusal.value.violations] == ["return_url"]


def test_without_prefixes_only_loopback_is_allowed() -> None:
    ReturnUrls("").check("http://localhost/")
    with pytest.raises(InvalidRequestError):
        ReturnUrls("").check("https://app.example/")


@pytest.mark.parametrize(
    "prefix", ["https://", "https:", "https:///", "*", "https://*.example", "app.example", "x://y"]
)
def test_a_prefix_that_would_allow_any_site_is_refused_at_the_start(prefix: str) -> None:
    with pytest.raises(ReturnUrlAllowError, match="TIEOUT_RETURN_URL_ALLOW"):
        ReturnUrls(f"https://app.example, {prefix}")
