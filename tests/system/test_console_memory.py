"""The console's memory page in a real browser: found by words, corrected, erased, for one tenant and no other."""

import pytest
from playwright.sync_api import expect

from aigrid.agents.memory import Memories
from tests.system.browser import MARKS, free_port, is_loaded, process

pytestmark = MARKS


@pytest.fixture(scope="module")
def gateway(home):
    (home / "aigrid.toml").write_text('[engine]\nkind = "echo"\n')
    port = free_port()
    with process(home, "aigrid.cli.gateway", ready=(port, "/health/live"), AIGRID_GATEWAY_PORT=str(port)):
        yield port


@pytest.fixture
def remembered(home, monkeypatch):
    """Two tenants' memories in the factory, without those of other tests."""
    monkeypatch.setenv("AIGRID_HOME", str(home))
    acme, globex = Memories("acme", "clerk"), Memories("globex", "clerk")
    for each in (acme, globex):
        each.forget([one.id for one in each.all()])
    acme.remember("Ann <i>takes</i> the blue door", "Ann", "ann", origin="run_1")
    acme.remember("Deliveries come on Fridays", "deliveries", origin="run_2")
    globex.remember("Deliveries come on Mondays", "deliveries", origin="run_3")
    return acme, globex


def texts(page, *wanted):
    expect(page.locator(".open-memory")).to_have_text(list(wanted))


def choose(page, which, option):
    page.get_by_role("combobox", name=which).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_memories_are_found_by_words_corrected_and_erased(visit, remembered):
    page = visit("/agents/memory")
    is_loaded(page)
    texts(page, "Deliveries come on Mondays", "Deliveries come on Fridays", "Ann <i>takes</i> the blue door")
    page.get_by_role("textbox", name="Look for").fill("friday DELIVER")
    texts(page, "Deliveries come on Fridays")
    page.locator(".open-memory").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Text").fill(" ")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("erase it instead")
    dialog.get_by_label("Text").fill("Deliveries come on Saturdays")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Nothing like that")).to_be_visible()
    page.get_by_role("textbox", name="Look for").fill("blue")
    texts(page, "Ann <i>takes</i> the blue door")
    page.locator(".open-memory").click()
    expect(dialog).to_contain_text("user ann")
    dialog.get_by_role("button", name="Erase").click()
    expect(page.get_by_text("Nothing like that")).to_be_visible()
    assert [one.text for one in remembered[0].all()] == ["Deliveries come on Saturdays"]


def test_a_tenants_memories_are_erased_together_and_the_others_stay(visit, remembered):
    page = visit("/agents/memory")
    is_loaded(page)
    expect(page.locator(".open-memory")).to_have_count(3)
    expect(page.get_by_role("button", name="Erase all of these")).to_be_hidden()
    choose(page, "Tenant", "acme")
    expect(page.locator(".open-memory")).to_have_count(2)
    page.get_by_role("button", name="Erase all of these").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Erase 2 memories of acme?")
    dialog.get_by_role("button", name="Erase").click()
    texts(page, "Deliveries come on Mondays")
    assert (remembered[0].all(), len(remembered[1].all())) == ([], 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_memories_without_scrolling_sideways(visit, remembered, scheme):
    page = visit("/agents/memory", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    expect(page.locator(".open-memory")).to_have_count(3)
    page.evaluate("document.fonts.ready")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
