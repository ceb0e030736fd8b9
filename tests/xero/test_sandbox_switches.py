"""The sandbox's switches: named, explained, settable, and honest about which of them nothing follows yet."""

import re
from datetime import date
from pathlib import Path

import pytest

import tieout_sandbox
from sandbox_caller import Caller
from tieout_sandbox.__main__ import main
from tieout_sandbox.switches import NOT_YET_USED, Switches, described, set_from_text, set_switch


def test_every_switch_has_a_meaning_a_default_and_a_source() -> None:
    for found in described(Switches()):
        assert found.meaning.endswith("."), found.name
        assert found.source, found.name
        assert found.value == found.default, found.name


def test_exactly_the_switches_that_nothing_asks_are_marked_as_not_yet_used() -> None:
    package = Path(tieout_sandbox.__file__).parent
    code = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "switches.py")
    asked = set(re.findall(r"switches\.([a-z_0-9]+)", code))
    names = {found.name for found in described(Switches())}
    assert names - asked == NOT_YET_USED


def test_a_switch_takes_text_of_its_kind_only() -> None:
    switches = Switches()
    set_from_text(switches, "payment_webhooks=yes")
    set_from_text(switches, "broad_scopes_end_on=2027-09-27")
    set_from_text(switches, "query_error_number = 99")
    assert (switches.payment_webhooks, switches.query_error_number) == (True, 99)
    assert switches.broad_scopes_end_on == date(2027, 9, 27)
    for wrong in ("payment_webhooks=perhaps", "query_error_number=many", "broad_scopes_end_on=soon", "nonsense=1", "x"):
        with pytest.raises(ValueError, match=r"switch|name=value"):
            set_from_text(switches, wrong)
    with pytest.raises(ValueError, match="is a bool"):
        set_switch(switches, "payment_webhooks", 7)


def test_the_command_lists_the_switches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["switches", "--switch", "balances_net_credits=false"]) == 0
    listed = capsys.readouterr().out
    assert "balances_net_credits = false (default true)\n    AccountsReceivable.Outstanding nets" in listed
    assert all(f"\n{found.name} = " in f"\n{listed}" for found in described(Switches()))
    assert main(["switches", "--switch", "nonsense=1"]) == 2


async def test_the_switches_can_be_listed_and_set_over_http(caller: Caller) -> None:
    listed = await caller.control("GET", "switches")
    assert [row["name"] for row in listed["switches"]] == [found.name for found in described(Switches())]
    await caller.control("POST", "switches", {"balances_net_credits": False, "query_error_number": 5})
    assert caller.sandbox.switches.balances_net_credits is False
    url, both = f"{caller.sandbox.url}/sandbox/switches", {"balances_net_credits": True, "nonsense": 1}
    async with caller.http.post(url, json=both) as response:
        assert (response.status, "nonsense" in await response.text()) == (400, True)
    assert caller.sandbox.switches.balances_net_credits is False, "a refused call sets none of them"
