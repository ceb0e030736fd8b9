"""Deliveries: only what one of our keys signed is believed, and nothing in it is an error."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from deliveries import DOCUMENT, KEY, TENANT, body_of, event, signature
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.notices import Notice
from tieout_server.settings import Settings
from tieout_server.xero.webhooks import XeroDeliveries


def deliveries(keys: str = KEY) -> XeroDeliveries:
    return XeroDeliveries(Settings(xero_webhook_key=SecretStr(keys)))


def read(body: bytes) -> list[Notice]:
    found = deliveries().read(body, signature(body))
    assert found is not None
    return list(found)


def test_an_event_says_which_document_changed_and_when() -> None:
    assert read(body_of(event())) == [
        Notice(
            xero_tenant_id=TENANT,
            entity=Entity.INVOICES,
            xero_id=DOCUMENT,
            kind="UPDATE",
            at=datetime(2026, 11, 22, 11, 59, 58, 902_000, UTC),
        )
    ]


def test_every_category_of_receivables_is_known() -> None:
    names = ("CONTACT", "INVOICE", "CREDITNOTE", "OVERPAYMENT", "PREPAYMENT", "PAYMENT")
    found = read(body_of(*(event(eventCategory=name) for name in names)))
    assert [notice.entity for notice in found] == [entity for entity in Entity if entity is not Entity.ACCOUNTS]


def test_a_signature_that_was_computed_elsewhere_is_known() -> None:
    # printf '{"events":[]}' | openssl dgst -sha256 -hmac my-key -binary | base64
    assert deliveries("my-key").read(b'{"events":[]}', "n4SN/W7XesANOI0oq73hqGoThzq7Bf14pjDZ6XDOSLs=") == []


@pytest.mark.parametrize("signed", ["", "x", signature(b"another body"), signature(body_of(), "another key"), "\udcff"])
def test_a_wrong_signature_is_told(signed: str) -> None:
    assert deliveries().read(body_of(), signed) is None


def test_one_changed_byte_is_told() -> None:
    body = body_of(event())
    assert deliveries().read(body.replace(b"UPDATE", b"UPDATF"), signature(body)) is None


def test_while_one_key_replaces_another_both_are_good() -> None:
    body = body_of(event())
    for key in ("old", "new"):
        assert deliveries(" old, new ").read(body, signature(body, key))
    assert deliveries("old").read(body, signature(body, "new")) is None


def test_without_a_key_nothing_is_genuine_not_even_what_an_empty_key_signed() -> None:
    for keys in ("", ",", " , "):
        off = deliveries(keys)
        assert not off.are_on
        assert off.read(body_of(), signature(body_of(), "")) is None


def test_an_intent_to_receive_has_no_events() -> None:
    assert read(body_of()) == []
    assert read(b"{}") == []


@pytest.mark.parametrize(
    "strange",
    [
        event(eventCategory="SUBSCRIPTION", tenantType="APPLICATION"),
        event(eventCategory="MANUALJOURNAL"),
        event(tenantType="PRACTICE"),
        event(resourceId="../Users"),
        event(resourceId=""),
        event(tenantId="a\0b"),
        event(eventType="\0"),
        event(eventDateUtc="yesterday"),
        event(eventDateUtc="0001-01-01T00:00:00+14:00"),
        event() | {"resourceId": 7},
        {},
        None,
        "event",
    ],
)
def test_what_does_not_concern_us_is_passed_over_and_the_rest_is_read(strange: object) -> None:
    assert len(read(body_of(strange, event(), strange))) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"events": null}', b'{"events": {}}'])
def test_a_signed_body_that_nobody_understands_is_no_error(body: bytes) -> None:
    assert read(body) == []


def test_unknown_kinds_and_fields_are_no_hindrance() -> None:
    told = event(eventType="ARCHIVED-SINCE-2027-OR-SO") | {"data": {"Status": "AUTHORISED"}, "new": [1]}
    assert [notice.kind for notice in read(json.dumps({"events": [told]}).encode())] == ["ARCHIVED-SINCE-2027-"]


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [("2026-11-22T11:59:58", 0), ("2026-11-22T11:59:58.9021234Z", 902_123), ("2026-11-22T12:59:58.5+01:00", 500_000)],
)
def test_instants_are_utc_with_or_without_saying_so(text: str, microsecond: int) -> None:
    (notice,) = read(body_of(event(eventDateUtc=text)))
    assert notice.at == datetime(2026, 11, 22, 11, 59, 58, microsecond, UTC)


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(deliveries()) + repr(Settings(xero_webhook_key=SecretStr(KEY)))
