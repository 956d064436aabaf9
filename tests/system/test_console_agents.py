"""The agents pages in a real browser: a real gateway and journal, real tools, a model that follows a script."""

import json

import pytest
from playwright.sync_api import expect

from tests.system.browser import MARKS, ask, free_port, is_loaded, process
from tests.system.scripted import Model, model_server

pytestmark = MARKS

TOOLS = '''
import pathlib

def stock(part: str) -> dict:
    """Look up how many of a part are there."""
    return {"columns": ["part", "left"], "rows": [[part, 7]], "more": False}

def read(name: str) -> str:
    """Read a note."""
    return "<script>document.title='owned'</script><img src=x onerror=\\"document.title='owned'\\">"

def order(part: str, amount: int) -> str:
    """Order parts."""
    with (pathlib.Path(__file__).parent / "ordered.txt").open("a") as file:
        file.write(f"{part} {amount}\\n")
    return f"ordered {amount} of {part}"
'''
BUYER = """
name: buyer
about: Keeps the store room filled.
instructions: Look up what is left, and order what is missing.
model: scripted
tools:
  stock: {kind: python, function: work.stock, safe_to_retry: true}
  read: {kind: python, function: work.read, safe_to_retry: true}
  order: {kind: python, function: work.order, approve: true, arguments: {amount: {maximum: 100}}}
budget: {steps: 9, usd: 0.05}
"""
STOCK, ORDER = [("stock", {"part": "M8 bolt"})], [("order", {"part": "M8 bolt", "amount": 40})]
SCRIPTS = {
    "Fill up": [STOCK, ORDER, "Ordered **40** bolts."],
    "Leave it": [[("order", {"part": "M8\u202etlob", "amount": 40})], "Then I leave it."],
    "Read": [[("read", {"name": "note"})], "The note says <b>nothing</b> <script>document.title='owned'</script>."],
    "Talk": ["[hold]One two three four five."],
    "Too many": [[("order", {"part": "M8 bolt", "amount": 400})], "That is too many."],
}


@pytest.fixture(scope="module")
def model():
    return Model(SCRIPTS)


@pytest.fixture(scope="module")
def gateway(home, model):
    with model_server(model) as url:
        (home / "aigrid.toml").write_text(f'[engine]\nkind = "none"\n[[upstreams]]\nname = "rack"\nurl = "{url}"\n')
        port = free_port()
        with process(home, "aigrid.cli.gateway", ready=(port, "/health/live"), AIGRID_GATEWAY_PORT=str(port)):
            yield port


@pytest.fixture(scope="module")
def buyer(home, gateway):
    folder = home / "agents"
    folder.mkdir(exist_ok=True)
    (folder / "work.py").write_text(TOOLS)
    (folder / "buyer.yaml").write_text(BUYER)
    return folder


def give(page, task):
    """Give the agent a task on the page, and wait for the run's page."""
    is_loaded(page)
    expect(page.locator(".give .q-select")).to_contain_text("buyer")
    page.get_by_role("textbox", name="Task").fill(task)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/agents/run/run_*")
    is_loaded(page)


def state(page, word):
    expect(page.locator(".run-head .tag")).to_have_text(word)


def test_without_agents_the_page_says_how_to_make_one_and_a_broken_file_says_why(visit, home, gateway):
    page = visit("/agents")
    expect(page.get_by_text("No agents yet")).to_be_visible()
    expect(page.locator(".empty")).to_contain_text("helper.yaml")
    expect(page.get_by_role("textbox", name="Task")).to_be_hidden()
    (home / "agents").mkdir()
    (home / "agents" / "broken.yaml").write_text("name: broken\ninstruction: x\n")
    expect(page.locator(".wrong")).to_contain_text("instructions")
    (home / "agents" / "broken.yaml").unlink()


def test_the_list_says_what_an_agent_may_do_and_its_name_opens_its_file(visit, buyer):
    page = visit("/agents")
    is_loaded(page)
    row = page.locator("tr", has_text="Keeps the store room filled.")
    expect(row).to_contain_text("order · asks first")
    expect(row).to_contain_text("$0.05")
    expect(row).to_contain_text("9 steps")
    row.get_by_role("button", name="buyer").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Look up what is left, and order what is missing.")
    expect(dialog).to_contain_text("amount: maximum 100")
    dialog.get_by_role("button", name="Give it a task").click()
    expect(page.get_by_role("textbox", name="Task")).to_be_focused()


def test_a_run_shows_its_steps_waits_with_the_exact_arguments_and_acts_once_it_is_approved(visit, buyer):
    page = visit("/agents")
    give(page, "Fill up the M8 bolts")
    state(page, "waits for a person")
    first = page.locator(".call").first
    expect(first).to_contain_text('"part": "M8 bolt"')
    expect(first.locator("td").last).to_have_text("7")
    card = page.locator(".approval")
    shown = json.loads(card.locator(".box").inner_text())
    assert shown == {"part": "M8 bolt", "amount": 40}
    assert not (buyer / "ordered.txt").exists()
    overview = visit("/agents")
    expect(overview.locator(".approval")).to_contain_text("buyer wants to call order")
    card.get_by_role("textbox", name="Reason").fill("we need them")
    card.get_by_role("button", name="Approve").click()
    state(page, "done")
    expect(page.locator(".answer strong")).to_have_text("40")
    expect(card).to_have_count(0)
    expect(overview.locator(".approval")).to_have_count(0)
    expect(page.locator(".person")).to_contain_text("we need them")
    assert (buyer / "ordered.txt").read_text() == "M8 bolt 40\n"
    expect(page.locator(".strip")).to_contain_text("2 tool calls")
    expect(page.locator(".step .receipt .price")).to_have_count(3)
    row = overview.locator("tr", has_text="Fill up the M8 bolts")
    expect(row).to_contain_text("done")


def test_what_is_denied_never_runs_and_hidden_characters_are_shown(visit, buyer):
    before = (buyer / "ordered.txt").read_text() if (buyer / "ordered.txt").exists() else ""
    page = visit("/agents")
    give(page, "Leave it be")
    card = page.locator(".approval")
    expect(card.locator(".box")).to_contain_text("M8\\u202etlob")
    card.get_by_role("textbox", name="Reason").fill("not today")
    card.get_by_role("button", name="Deny").click()
    state(page, "done")
    expect(page.locator(".answer")).to_contain_text("Then I leave it.")
    expect(page.locator(".call .tag")).to_have_text("refused")
    expect(page.locator(".call")).to_contain_text("a person denied it: not today")
    assert ((buyer / "ordered.txt").read_text() if (buyer / "ordered.txt").exists() else "") == before


def test_words_appear_as_they_are_said_and_a_paused_run_can_be_gone_on_with(visit, buyer, model):
    page = visit("/agents")
    give(page, "Talk to me")
    state(page, "at work")
    expect(page.locator(".step .words").last).to_have_text("One two three")
    expect(page.locator(".step .receipt")).to_have_count(0)
    page.get_by_role("button", name="Pause").click()
    state(page, "cut off")
    model.go.set()
    page.get_by_role("button", name="Go on").click()
    state(page, "done")
    expect(page.locator(".answer")).to_have_text("One two three four five.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_a_run_at_work_or_waiting_is_stopped_for_good_and_says_by_whom(visit, buyer, model):
    model.go.clear()
    page = visit("/agents")
    give(page, "Talk to me")
    state(page, "at work")
    expect(page.locator(".step .words").last).to_have_text("One two three")
    page.get_by_role("button", name="Stop").click()
    state(page, "stopped")
    expect(page.locator(".banner", has_text="stopped by")).to_be_visible()
    for name in ("Stop", "Pause", "Go on"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    model.go.set()
    page.goto(page.url.partition("/agents")[0] + "/agents")
    give(page, "Fill up again")
    state(page, "waits for a person")
    page.get_by_role("button", name="Stop").click()
    state(page, "stopped")
    expect(page.locator(".approval")).to_have_count(0)


def test_text_of_models_and_tools_cannot_write_markup(visit, buyer):
    page = visit("/agents")
    give(page, "Read the <i>note</i>")
    state(page, "done")
    expect(page.locator(".call .result")).to_contain_text("<script>")
    expect(page.locator(".answer")).to_contain_text("<b>nothing</b>")
    assert page.locator(".main img, .main script, .step i, .answer b").count() == 0
    assert "owned" not in page.title()


def test_a_step_is_rated_and_corrected_and_becomes_feedback(visit, buyer, gateway):
    page = visit("/agents")
    give(page, "Too many bolts")
    state(page, "done")
    expect(page.locator(".call .tag")).to_have_text("refused")
    page.get_by_role("button", name="Rate or correct").last.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog.get_by_role("alert")).to_contain_text("a rating, a correction or a comment")
    dialog.get_by_role("button", name="Bad").click()
    dialog.get_by_label("It should have said").fill("At most 100 can be ordered at once.")
    dialog.get_by_role("button", name="Keep").click()
    expect(page.locator(".receipt .tag")).to_have_text("bad, corrected")
    run = page.url.rpartition("/")[2]
    [row] = json.loads(ask(gateway, "GET", f"/admin/agents/feedback?run={run}")[1])["feedback"]
    assert (row["step"], row["said"], row["agent"]) == (1, "That is too many.", "buyer")


def test_a_run_that_is_not_there_says_so(visit, gateway):
    page = visit("/agents/run/run_nothing")
    expect(page.get_by_text("This run is not here")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all_without_scrolling_sideways(visit, buyer, scheme):
    page = visit("/agents", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    give(page, "Fill up the M8 bolts")
    expect(page.locator(".approval")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(page.url.partition("/agents")[0] + "/agents")
    expect(page.locator(".approval").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
