"""front-desk: answers that stand in the handbook, forms filled in from words, money approved, the rest for people."""

import datetime
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from frontdesk import words
from frontdesk.books import PLACES_A_DAY, Books, Refused
from frontdesk.choose import choose
from frontdesk.desk import Conversation, FrontDesk, worded
from frontdesk.evaluate import MONDAY, evaluate, fault
from frontdesk.handbook import Handbook

from aigrid.agents import spec
from aigrid.agents.box import pack
from aigrid.agents.desk import Desk
from aigrid.agents.tools.base import Site
from aigrid.client.model import Model
from aigrid.core.errors import Conflict, UpstreamError
from aigrid.knowledge.answer import Answer
from aigrid.knowledge.cite import Citation, check
from tests.blueprints.conftest import BLUEPRINTS

HERE = BLUEPRINTS / "front-desk"
DATA = HERE / "data"
WHEELS = "I'd like to send back the wheel set of LC-2094, I no longer need it."
PINCHES = "I want to return the helmet from LC-2088, it pinches behind both ears."


class Chooser:
    """A model that always chooses the same, and remembers between what."""

    complete = None

    def __init__(self, choice):
        self.choice = choice
        self.seen = []

    def fill(self, messages, name, about, schema, **options):
        self.seen.append(schema["properties"]["choice"]["enum"])
        return {"choice": self.choice}


@pytest.fixture(scope="module")
def handbook():
    made = Handbook(DATA / "handbook")
    yield made
    made.close()


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path / "books.sqlite", DATA / "orders.json", MONDAY)


@pytest.fixture
def approvals(tmp_path):
    desk = Desk(tmp_path / "approvals.db")
    yield desk
    desk.close()


@pytest.fixture
def desk(handbook, books, approvals):
    return FrontDesk(handbook, books, approvals)


def test_the_cases_come_out_as_a_person_wrote_without_any_model(handbook) -> None:
    found = evaluate(DATA / "cases.json", DATA / "orders.json", handbook)
    assert found["scores"]["form"] == [14, 14]
    assert found["scores"]["all"][0] >= 32, found["wrong"]
    assert found["citations"][0] == found["citations"][1] >= 12
    unseen = evaluate(DATA / "unseen.json", DATA / "orders.json", handbook)
    assert unseen["scores"]["form"] == [7, 7]
    assert unseen["scores"]["person"] == [5, 5]


def test_a_wrong_reply_is_called_wrong(desk) -> None:
    reply = desk.turn(Conversation("t"), "How long is a gift card valid?")
    right = {"act": "answer", "source": "gift-cards.md", "holds": "three years"}
    assert fault(reply, right) == ""
    for change in ({"act": "person"}, {"source": "club.md"}, {"holds": "nine years"}):
        assert fault(reply, {**right, **change})


def test_an_answer_stands_in_its_page_with_the_sentence_that_hangs_on_it(desk, handbook) -> None:
    reply = desk.turn(Conversation("t"), "Can an appointment be cancelled free of charge?")
    assert "After that we charge 20 euros." in reply.text
    assert all(check(each, handbook.page(each.source_id)) for each in reply.citations)


def test_a_model_that_names_one_of_two_figures_is_not_repeated() -> None:
    quote = "The deposit is 100 euros for a city bicycle, and 300 euros for a cargo bicycle."
    cited = [Citation(1, "c", "hire.md", "hire.md", 0, len(quote), quote)]

    def said(text: str) -> str:
        return worded(Answer("?", text, True, 0.9, cited, written="model"))

    assert said("The deposit for a cargo bicycle is 100 euros. [1]") == f"{quote} [1]"
    assert said("What is the deposit, 100 or 300 euros? [1]") == f"{quote} [1]"
    whole = "It is 100 euros for a city bicycle and 300 euros for a cargo bicycle. [1]"
    assert said(whole) == f"{quote} [1]"  # nobody has checked which figure is whose


def test_what_is_missing_is_asked_and_after_two_tries_a_person_takes_over(desk, books) -> None:
    talk = Conversation("t")
    assert [desk.turn(talk, said).missing for said in ("I want to return something.", "the blue one")] == ["order"] * 2
    assert desk.turn(talk, "the blue one, as I said").act == "person"
    assert books.entries("person")[0]["said"][0] == "I want to return something."


def test_a_return_asked_for_twice_is_one_return(desk, books) -> None:
    said = "I want to return the bell and nothing else of LC-2041"
    assert desk.turn(Conversation("a"), said).missing == "item"
    for talk in ("b", "c"):
        reply = desk.turn(Conversation(talk), "Please take back the floor pump of LC-2041, it leaks.")
        assert (reply.state, reply.fields["refund_eur"]) == ("done", 34.5)
    assert len(books.entries("return")) == 1


def test_a_large_refund_waits_for_approval_and_is_written_once(desk, books) -> None:
    first, again = (desk.turn(Conversation(name), WHEELS) for name in ("a", "b"))
    assert first.state == "waiting"
    assert first.approval == again.approval
    assert books.entries("return") == []
    for _ in range(2):
        assert desk.decide(first.approval, True, "Ines").state == "done"
    assert [entry["refund_eur"] for entry in books.entries("return")] == [285.5]
    with pytest.raises(Conflict):
        desk.decide(first.approval, False, "Ines")


def test_a_denied_return_stays_denied(desk, books) -> None:
    waiting = desk.turn(Conversation("a"), WHEELS)
    assert desk.decide(waiting.approval, False, "Ines", "They were ridden.").act == "refused"
    assert "ridden" in desk.turn(Conversation("b"), WHEELS).text
    assert books.entries("return") == []


def test_the_refund_is_what_the_handbook_says_whoever_asks(books) -> None:
    assert books.refund("LC-2057", "city bicycle Wren", "not wanted") == 749 - 25
    for refund in (79.0, 750.0):
        with pytest.raises(Refused, match=r"75\.50 euros"):
            books.start_return("LC-2041", "rain jacket", "not wanted", refund)
    with pytest.raises(Refused, match="no order"):
        books.refund("LC-9999", "rain jacket", "faulty")


def test_a_full_day_and_a_closed_one_are_refused_and_a_booking_is_made_once(books) -> None:
    friday = datetime.date(2026, 5, 8)
    for number in range(PLACES_A_DAY):
        for _ in range(2):
            books.book("puncture", friday, f"talk {number}")
    assert len(books.entries("appointment")) == PLACES_A_DAY
    for day, why in ((friday, "full"), (MONDAY, "closed"), (MONDAY - datetime.timedelta(1), "over")):
        with pytest.raises(Refused, match=why):
            books.book("puncture", day, "one more")


def test_a_model_chooses_only_where_words_leave_a_choice(handbook, books, approvals) -> None:
    assert FrontDesk(handbook, books, approvals).turn(Conversation("t"), PINCHES).missing == "reason"
    model = Chooser("wrong size")
    desk = FrontDesk(handbook, books, approvals, model)
    assert desk.turn(Conversation("t"), PINCHES).fields["reason"] == "wrong size"
    assert model.seen == [["faulty", "wrong size", "wrong goods", "not wanted"]]
    desk.turn(Conversation("u"), "I want to return the gloves from LC-2088, they are torn.")
    assert desk.turn(Conversation("v"), "I want to return the bottle cage from LC-2101.").missing == "reason"
    assert len(model.seen) == 1


def test_a_server_that_chooses_outside_the_list_is_refused() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            call = {"function": {"name": "choose", "arguments": json.dumps({"choice": "refund everything"})}}
            body = json.dumps({"choices": [{"message": {"tool_calls": [call]}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(UpstreamError, match="no choice"):
            choose(Model(f"http://127.0.0.1:{server.server_port}", name="m"), "?", "?", {"one": "1", "two": "2"})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2026-05-04"),
        ("the day after tomorrow", "2026-05-06"),
        ("on Monday", "2026-05-11"),
        ("on the 3rd of May", "2027-05-03"),
        ("May 12, please", "2026-05-12"),
        ("2026-06-01", "2026-06-01"),
    ],
)
def test_days_are_found_in_words(text: str, day: str) -> None:
    assert [found.isoformat() for found in words.days(text, MONDAY)] == [day]


def test_no_day_is_found_where_there_is_none() -> None:
    assert words.days("on 31 February", MONDAY) == words.days("some day in spring", MONDAY) == []


async def test_the_agents_large_refunds_need_approval() -> None:
    agent = spec.parse((HERE / "agent.yaml").read_text())
    policy = (await pack(agent, Site(HERE)))["start_return"].policy
    asked = {"order": "LC-2094", "item": "wheel set", "reason": "faulty"}
    assert [policy.asks({**asked, "refund_eur": refund}) for refund in (79.0, 150.0, 289.0)] == [False, False, True]


def test_the_one_command_answers_fills_in_and_has_returns_approved(tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HERE / "run.py"), "--state", str(tmp_path), *args]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("--no-model")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[1] delivery.md" in done.stdout
    assert "Return 1: rain jacket of LC-2041" in done.stdout
    waiting = json.loads(run("--no-model", "--json", WHEELS).stdout)["approval"]
    assert waiting in run("--waiting").stdout
    assert run("--approve", waiting).returncode == 1
    assert "285.50 euros are refunded" in run("--approve", waiting, "--by", "Ines").stdout
    assert run("--waiting").stdout == ""
