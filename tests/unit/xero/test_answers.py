"""Xero's dialects of error are told apart, whatever their case, and quoted without markup."""

import json

import pytest

from tieout_server.errors import (
    AccessRevokedError,
    ScopeMissingError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.calls import Left, Problem
from tieout_server.xero.answers import Answer, LimitRefused, TokenRefused, refusal


def problem(status: int, detail: str, *, lower: bool = False) -> bytes:
    body: dict[str, object] = {
        "Type": None,
        "Title": "x",
        "Status": status,
        "Detail": detail,
        "Instance": "3a91d57c",
        "Extensions": {},
    }
    return json.dumps({key.lower(): value for key, value in body.items()} if lower else body).encode()


def error_of(status: int, body: bytes, **headers: str) -> TieoutError:
    refused = refusal(Answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, body))
    assert isinstance(refused, TieoutError)
    return refused


@pytest.mark.parametrize("lower", [False, True])
def test_problems_are_read_in_either_case(*, lower: bool) -> None:
    refused = refusal(Answer(401, {}, problem(401, "TokenExpired: token expired at 08/12/2022 07:00:40", lower=lower)))
    assert refused == TokenRefused("TokenExpired: token expired at 08/12/2022 07:00:40")
    assert isinstance(error_of(403, problem(403, "AuthenticationUnsuccessful", lower=lower)), AccessRevokedError)
    assert isinstance(error_of(401, problem(401, "AuthorizationUnsuccessful", lower=lower)), ScopeMissingError)


def test_a_missing_scope_is_known_by_the_challenge_too() -> None:
    error = error_of(401, b"", www_authenticate='Bearer error="insufficient_scope"')
    assert isinstance(error, ScopeMissingError)


def test_an_html_page_from_the_edge_is_an_outage_not_a_revocation() -> None:
    error = error_of(403, b"<html><style>p{}</style><h1>Access Denied</h1>\r\n<p>Ref 1</p></html>")
    assert isinstance(error, XeroUnavailableError)
    assert error.facts["words"] == "Access Denied Ref 1"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_trouble_at_xero_is_an_outage(status: int) -> None:
    error = error_of(status, b"The Organisation is offline")
    assert isinstance(error, XeroUnavailableError)
    assert error.facts["words"] == "The Organisation is offline"


def test_a_validation_error_keeps_xeros_words() -> None:
    body = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [{"ValidationErrors": [{"Message": "Account could not be found"}, {"Message": "Date is wrong"}]}],
    }
    error = error_of(400, json.dumps(body).encode())
    assert isinstance(error, UnexpectedAnswerError)
    assert error.facts["words"] == "A validation exception occurred; Account could not be found; Date is wrong"


def test_what_nobody_documented_is_named_with_its_status() -> None:
    error = error_of(404, b"The resource you're looking for cannot be found")
    assert isinstance(error, UnexpectedAnswerError)
    assert error.facts["status"] == "404"
    assert "cannot be found" in error.sentence


@pytest.mark.parametrize(
    ("name", "retry_after", "expected"),
    [
        ("minute", "24", LimitRefused(Problem.MINUTE, 24)),
        ("Day", "66975", LimitRefused(Problem.DAY, 66_975)),
        ("Daily", "5", LimitRefused(Problem.DAY, 5)),
        ("concurrent", "", LimitRefused(Problem.CONCURRENT, None)),
        ("AppMinute", "", LimitRefused(Problem.APP_MINUTE, None)),
        ("app minute", "", LimitRefused(Problem.APP_MINUTE, None)),
        ("", "7", LimitRefused(Problem.MINUTE, 7)),
        ("", "", LimitRefused(Problem.CONCURRENT, None)),
    ],
)
def test_each_limit_is_known_by_its_name(name: str, retry_after: str, expected: LimitRefused) -> None:
    answer = Answer(429, {"x-rate-limit-problem": name, "retry-after": retry_after}, b"")
    assert refusal(answer) == expected


def test_what_is_left_is_read_from_the_headers_that_are_there() -> None:
    headers = {"x-minlimit-remaining": "58", "x-daylimit-remaining": "4983", "x-appminlimit-remaining": "many"}
    assert Answer(200, headers, b"").left == Left(minute=58, day=4983, app_minute=None)
