"""The console in a real browser, in front of a real gateway with the echo engine."""

import csv
import json
import time
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.system.browser import MARKS, ask, free_port, is_loaded, process

PAGES = ("/", "/chat", "/knowledge", "/agents", "/batches", "/ledger", "/keys")

pytestmark = MARKS


@pytest.fixture(scope="module")
def gateway(home):
    port = free_port()
    settings = {"AIGRID_GATEWAY_PORT": str(port), "AIGRID_ENGINE_KIND": "echo", "AIGRID_ENGINE_ECHO_RATE": "300"}
    with process(home, "aigrid.cli.gateway", ready=(port, "/health/live"), **settings):
        yield port


@pytest.fixture(scope="module")
def used(gateway):
    """Give the factory a tenant with a key and some settled requests; returns the tenant's name."""
    made = json.loads(ask(gateway, "POST", "/admin/keys", {"tenant": "acme", "name": "app"})[1])
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 6}
    for _ in range(3):
        status, answer, _ = ask(gateway, "POST", "/v1/chat/completions", body, authorization=f"Bearer {made['key']}")
        assert status == 200, answer
    until = time.monotonic() + 60
    while len(json.loads(ask(gateway, "GET", "/admin/records?tenant=acme")[1])["records"]) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    return "acme"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_loads_without_an_error(visit, path, scheme):
    page = visit(path, color_scheme=scheme)
    is_loaded(page)
    expect(page.locator(f'nav li a[href="{path}"]')).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_never_scrolls_sideways(visit, used, path):
    page = visit(path, viewport={"width": 390, "height": 844})
    is_loaded(page)
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_home_page_shows_what_the_ledger_says_and_goes_on_by_itself(visit, used, gateway):
    page = visit("/")
    expect(page.get_by_role("link", name=used)).to_be_visible()
    expect(page.locator(".chart svg path").first).to_be_attached()
    tokens = page.locator(".strip .lead .note")
    before = tokens.inner_text()
    key = json.loads(ask(gateway, "POST", "/admin/keys", {"tenant": "acme"})[1])["key"]
    body = {"model": "echo", "prompt": "a b c d", "max_tokens": 50}
    ask(gateway, "POST", "/v1/completions", body, authorization=f"Bearer {key}")
    expect(tokens).not_to_have_text(before)


def test_an_answer_streams_and_shows_the_price_that_the_ledger_has(visit, gateway):
    page = visit("/chat")
    is_loaded(page)
    box = page.get_by_role("textbox", name="Your message")
    box.fill("one two three")
    box.press("Enter")
    receipt = page.locator(".receipt[data-request]")
    expect(receipt).to_be_visible()
    expect(page.locator(".answer")).to_contain_text("one two three")
    record = json.loads(ask(gateway, "GET", f"/admin/records/{receipt.get_attribute('data-request')}")[1])
    assert (record["tenant"], record["outcome"]) == ("console", "finished")
    expect(receipt).to_contain_text(f"{record['completion_tokens']} out")
    expect(receipt).to_contain_text("to first token")
    shown = float(receipt.locator(".price").inner_text().removeprefix("$"))
    assert shown == pytest.approx(record["revenue_nusd"] / 1e9, rel=0.05)
    expect(receipt).to_contain_text("estimated" if "estimate" in record["energy_source"] else "measured")


def test_an_answer_can_be_stopped_and_is_priced_for_what_came(visit, gateway):
    page = visit("/chat")
    is_loaded(page)
    page.get_by_label("Max tokens").fill("4000")
    page.get_by_role("textbox", name="Your message").fill("one two three [echo tokens=4000 rate=40]")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".answer")).to_contain_text("one two")
    page.get_by_role("button", name="Stop").click()
    receipt = page.locator(".receipt[data-request]")
    expect(receipt).to_contain_text("stopped by you")
    record = json.loads(ask(gateway, "GET", f"/admin/records/{receipt.get_attribute('data-request')}")[1])
    assert record["outcome"] == "client_gone"
    assert 0 < record["completion_tokens"] < 4000
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_markup_in_an_answer_is_not_run_and_fetches_nothing(visit):
    page = visit("/chat")
    is_loaded(page)
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script> [x](javascript:alert(1)) end'
    page.get_by_role("textbox", name="Your message").fill(evil)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".receipt[data-request]")).to_be_visible()
    assert page.title() == "Chat – aigrid"
    assert page.locator(".answer script").count() == page.locator(".answer [onerror]").count() == 0
    assert page.locator('.answer a[href^="javascript"]').count() == 0


def test_a_key_is_made_shown_once_and_revoked(visit, gateway):
    page = visit("/keys")
    is_loaded(page)
    page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Make key").click()
    expect(dialog.get_by_role("alert")).to_have_text("Name the tenant that pays.")
    dialog.locator('input[aria-label="Tenant"]').fill("browser")
    dialog.locator('input[aria-label="Name"]').fill("made-here")
    dialog.locator('input[aria-label="Budget in all"]').fill("0.25")
    dialog.get_by_role("button", name="Make key").click()
    secret = page.locator("#secret").inner_text()
    assert ask(gateway, "GET", "/v1/models", authorization=f"Bearer {secret}")[0] == 200
    page.get_by_role("button", name="I have it").click()
    row = page.locator("article", has_text="made-here")
    expect(row).to_contain_text("of $0.25 total")
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke made-here").click()
    page.get_by_role("button", name="Keep it").click()
    assert ask(gateway, "GET", "/v1/models", authorization=f"Bearer {secret}")[0] == 200
    page.get_by_role("button", name="Revoke made-here").click()
    page.get_by_role("button", name="Revoke key").click()
    expect(row).to_have_count(0)
    assert ask(gateway, "GET", "/v1/models", authorization=f"Bearer {secret}")[0] == 401
    expect(page.get_by_role("table", name="Administrative acts")).to_contain_text("keys.revoke")


def test_a_tenants_limits_are_changed(visit, used, gateway):
    page = visit("/keys")
    is_loaded(page)
    page.get_by_role("button", name=f"Limits of {used}").click()
    page.locator('input[aria-label="Budget per day"]').fill("12.5")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("article", has=page.get_by_role("button", name=f"Limits of {used}"))).to_contain_text("$12.50")
    tenants = json.loads(ask(gateway, "GET", "/admin/tenants")[1])["tenants"]
    assert next(one for one in tenants if one["name"] == used)["limits"] == {"day_nusd": 12_500_000_000}


def test_the_ledger_filters_sums_and_exports_what_it_shows(visit, used, gateway):
    page = visit(f"/ledger?{urlencode({'tenant': used})}")
    is_loaded(page)
    table = page.get_by_role("table", name="Settled requests")
    expect(table).to_contain_text(used)
    wanted = json.loads(ask(gateway, "GET", f"/admin/records?tenant={used}&limit=1000")[1])["records"]
    expect(page.locator(".six dd.value").first).to_have_text(f"{len(wanted)}")
    expect(table.locator("tbody tr")).to_have_count(len(wanted))
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    assert download.value.suggested_filename == "aigrid-records.csv"
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == {record["id"] for record in wanted}
    assert {row["tenant"] for row in rows} == {used}


def test_keys_alone_lead_through_the_pages(visit):
    page = visit("/")
    is_loaded(page)
    for path in (
        "/",
        "/",
        "/chat",
        "/knowledge",
        "/agents",
        "/lines",
        "/batches",
        "/radio",
        "/ledger",
        "/keys",
    ):  # the logo leads home too
        page.keyboard.press("Tab")
        assert page.evaluate("new URL(document.activeElement.href).pathname") == path
    page.keyboard.press("Enter")
    page.wait_for_url("**/keys")


def test_light_and_dark_are_remembered(visit):
    page = visit("/", color_scheme="light", fresh=True)
    is_loaded(page)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("body.body--dark")).to_be_attached()
    page.reload()
    expect(page.locator("body.body--dark")).to_be_attached()


def test_the_console_says_when_the_gateway_is_away_and_goes_on_when_it_is_back(visit, home):
    port, gateway = free_port(), free_port()
    command = ("aigrid.console", "--gateway", f"http://127.0.0.1:{gateway}", "--port", str(port))
    away = home / "away"
    away.mkdir()
    with process(away, *command, ready=(port, "/login")):
        page = visit("/", port)
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        expect(page.get_by_role("alert")).to_contain_text("aigrid up")
        settings = {"AIGRID_GATEWAY_PORT": str(gateway), "AIGRID_ENGINE_KIND": "echo"}
        with process(away, "aigrid.cli.gateway", ready=(gateway, "/health/live"), **settings):
            expect(page.get_by_role("heading", name="Factory")).to_be_visible()
            expect(page.get_by_role("alert")).to_be_hidden()


def test_beyond_loopback_nothing_is_seen_without_an_admin_key(visit, home, gateway):
    # 127.1 is how the resolver spells 127.0.0.1, but nothing that the console takes for loopback.
    port = free_port()
    command = ("aigrid.console", "--gateway", f"http://127.0.0.1:{gateway}", "--host", "127.1", "--port", str(port))
    made = json.loads(ask(gateway, "POST", "/admin/keys", {"tenant": "ops", "name": "op", "scope": "admin"})[1])
    plain = json.loads(ask(gateway, "POST", "/admin/keys", {"tenant": "ops"})[1])
    with process(home, *command, ready=(port, "/login")):
        assert ask(port, "GET", "/download/aigrid-records.csv")[0] == 401
        page = visit("/ledger", port, fresh=True)
        assert page.url.endswith("/login?next=/ledger")
        page.get_by_label("Admin key").fill(made["key"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/ledger")
        is_loaded(page)
        (cookie,) = [one for one in page.context.cookies() if one["name"] == "aigrid_session"]
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
        assert made["key"] not in page.content()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")
        assert ask(port, "GET", "/", cookie=f"aigrid_session={cookie['value']}")[0] == 303
        form = {"content-type": "application/x-www-form-urlencoded"}
        statuses = [ask(port, "POST", "/login", f"key={plain['key']}", **form)[0] for _ in range(6)]
        assert statuses == [403] * 5 + [429]
        assert int(ask(port, "POST", "/login", f"key={made['key']}", **form)[2]["retry-after"]) > 0
