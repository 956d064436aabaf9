"""What a co-run tells: the record, the endpoint that serves it with what was earned, and the console's pictures."""

import asyncio
import json
import os
import re
import time

import msgspec
import numpy as np
import pytest

from aigrid.cli.app import run
from aigrid.console import radio as radio_page
from aigrid.console import radio_charts
from aigrid.core.clock import SECOND
from aigrid.core.config import Config, LedgerConfig
from aigrid.core.errors import BadRequest
from aigrid.engines.echo import EchoEngine
from aigrid.engines.meter import Meter, meter_path
from aigrid.engines.openvino_process import socket_path
from aigrid.gateway.app import Gateway
from aigrid.gateway.http import Request
from aigrid.ledger import open_ledger
from aigrid.ran.harvest import attach, record
from aigrid.ran.harvest.harvester import Harvester
from aigrid.ran.harvest.works import BurnWork
from aigrid.ran.state import RECENT, RECENT_DOWNLINK, RUNNING, TICK_BINS, Page


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A record stays new for as long as a test takes, however slow the machine is."""
    monkeypatch.setattr(record, "FRESH_NS", 3600 * SECOND)


@pytest.fixture
def page(tmp_path):
    made = Page(tmp_path / "page", create=True)
    made.write(
        {"pid": os.getpid(), "phase": RUNNING, "slot": 1023, "slot_ns": 500_000, "cell_prb": 51, "busy_slots": 800,
         "late_slots": 2, "real_time": 1, "updated_ns": time.monotonic_ns(), "cpu": 0},
        {RECENT_DOWNLINK: (np.arange(RECENT), 20)},
    )  # fmt: skip
    made.words[TICK_BINS + 2] = 999_999
    made.words[TICK_BINS + 40] = 1
    return made


@pytest.fixture
def harvested(page):
    with BurnWork(threads=1) as work:
        harvester = Harvester(page.path, work.meter_path, guard=False)
        harvester.co.tokens = 1_234_567
        harvester.history.append((0.2, 0.1, 0.3, 1.5, 500.0, 612.5))
        yield harvester


def ask(config):
    """What GET /admin/radio answers in a gateway with an engine called `local`."""

    async def main():
        ledger = open_ledger(config, owner=True)
        await ledger.open()
        try:
            gateway = Gateway(config, ledger, [EchoEngine("local")])
            attach.attach(gateway)
            scope = {"type": "http", "method": "GET", "path": "/admin/radio", "query_string": b"", "headers": [(b"host", b"127.0.0.1")],
                     "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8470)}  # fmt: skip

            async def receive():
                return {"type": "http.request", "body": b"", "more_body": False}

            request = Request(scope, receive)
            answer = await gateway._handler(request)(request)
            return msgspec.json.decode(answer.body)
        finally:
            await ledger.close()

    return asyncio.run(main())


def test_a_record_is_read_while_it_is_new_and_forgotten_at_the_end(page, monkeypatch):
    assert record.read() is None
    record.write(page.read(), None, 7)
    found = record.read()
    assert found is not None
    assert (found["slot"], found["late_slots"], found["load"][0], found["harvest"]) == (1023, 2, 20.0, None)
    monkeypatch.setattr(record, "FRESH_NS", 0)
    assert record.read() is None, "nobody keeps it up to date"
    monkeypatch.undo()


def test_a_record_half_written_or_foreign_is_no_radio():
    record.path().parent.mkdir(parents=True, exist_ok=True)
    for text in ("", "{", "[]", '{"slot": 1}'):
        record.path().write_text(text)
        assert record.read() is None
    record.forget()
    record.forget()


def test_the_endpoint_tells_the_radio_and_what_idle_cycles_earned(page, harvested):
    config = Config(ledger=LedgerConfig(url="sqlite"))
    assert ask(config) == {"radio": None, "earned": None}
    record.write(page.read(), harvested, 7, "local")
    said = ask(config)
    assert said["radio"]["harvest"]["tokens"] == 1_234_567
    assert said["earned"] == {
        "model": "echo", "tokens": 1_234_567, "nusd": 1_234_567 * 200_000_000 // 1_000_000, "nusd_per_mtok": 200_000_000,
    }  # fmt: skip
    record.write(page.read(), harvested, 7, "elsewhere")
    assert ask(config)["earned"] is None, "an engine of another gateway earns there"


def test_the_page_shows_it_and_escapes_what_it_shows(page, harvested):
    harvested.co.reason = "<script>alert(1)</script>"
    harvested.co.notes = ["<b>"]
    record.write(page.read(), harvested, 7, "local")
    radio = json.loads(record.path().read_text())
    earned = {"model": "m", "tokens": 1_234_567, "nusd": 246_913_400, "nusd_per_mtok": 200_000_000}
    shown = str(radio_page.head(radio)) + str(radio_page.strip(radio, earned)) + str(radio_page.split(radio))
    assert "<script>" not in shown
    assert "<b>" not in re.sub(r"<b>[\d.]+</b>", "", shown)
    for text in ("99.750", "2 late of 800", "1.23 M tokens", "$0.25", "first in line"):
        assert text in shown.replace("\u00a0", " ")
    assert "No radio" not in str(radio_page.head(None))
    assert "not harvested" in str(radio_page.head({**radio, "harvest": None}))


def test_one_slot_in_a_million_can_be_seen(page):
    record.write(page.read(), None, 7)
    names, heights = radio_charts.octaves(json.loads(record.path().read_text()))
    tick = [height for height in heights[0] if height is not None]
    assert len(names) == len(heights[0])
    assert (names[0], names[-1]) == ("2 µs", "1 ms")
    assert tick == [pytest.approx(6, abs=0.01), pytest.approx(0, abs=0.01)]
    assert radio_charts.octaves({**record.read(), "tick": [0] * 64, "downlink": [0] * 64, "uplink": [0] * 64})[0] == []


def test_a_radio_is_run_with_the_engine_of_this_factory_beside_it(state_in_a_temporary_folder, capsys, monkeypatch):
    args = ["ran", "run", "--harvest", "--no-fifo", "--seconds", "3", "--scale", "8"]
    assert run(args) == 1
    assert "no embedded engine runs in" in capsys.readouterr().err
    with BurnWork(threads=1) as work:
        place = meter_path(socket_path(state_in_a_temporary_folder / "run", Config().site.id))
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(work.meter_path, place)
        told = []
        monkeypatch.setattr(record, "write", lambda radio, harvester, *more: told.append((radio.slot, harvester.co)))
        assert run(args) == 0
        assert told[-1][0] > 0
        assert os.sched_getscheduler(work.pid) == os.SCHED_OTHER, "it was given back"
        assert not Meter(place).governed
    assert record.read() is None


def test_an_unknown_query_is_refused():
    async def main():
        ledger = open_ledger(Config(ledger=LedgerConfig(url="sqlite")), owner=True)
        gateway = Gateway(Config(), ledger, [])
        request = Request({"type": "http", "method": "GET", "path": "/admin/radio", "query_string": b"x=1", "headers": [(b"host", b"127.0.0.1")],
                           "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8470)}, None)  # fmt: skip
        with pytest.raises(BadRequest):
            await attach.RadioApi(gateway).show(request)

    asyncio.run(main())
