"""What every journal does, whatever keeps it; and what only a database can do to one."""

import os
import sqlite3
import subprocess
import sys
import time

import psycopg
import pytest
from fakes import ScriptedMind

from aigrid.agents import journal_postgres, shelf, views
from aigrid.agents.journal_sqlite import runs_folder
from aigrid.core.errors import Conflict, NotFound, Unavailable
from aigrid.core.ids import new_id

HOLD = """
import os, sys
from aigrid.agents import shelf
shelf.use(os.environ["URL"])
journal = shelf.find(sys.argv[1]).open()
print("held", flush=True)
sys.stdin.read()
"""


def made(keys=("",)):
    run = new_id("run_")
    with shelf.place(run).open(new=True) as journal:
        for key in keys:
            journal.add("start" if not key else "model", key, "d", {"said": key})
    return run


def test_a_journal_only_grows_and_each_step_is_there_once(keeping):
    run = made(["", "0", "1"])
    with shelf.find(run).open() as journal:
        for kind, key in (("start", ""), ("model", "1")):
            with pytest.raises(Conflict):
                journal.add(kind, key, "d", {})
        assert journal.add("model", "2", "d", {"said": "ü\u0000\U0001f600"}).seq == 4
        assert journal.add("resumed", "4", "", {}).seq == 5
    assert [(step.seq, step.key) for step in shelf.read(run)] == [(1, ""), (2, "0"), (3, "1"), (4, "2"), (5, "4")]
    assert shelf.read(run)[3].body == {"said": "ü\u0000\U0001f600"}
    changes = ("UPDATE {} SET at_ns = 0", "DELETE FROM {}")
    for change in changes:
        with pytest.raises((sqlite3.Error, psycopg.Error), match="append-only"):
            if keeping == "sqlite":
                with sqlite3.connect(shelf.find(run).path) as database:
                    database.execute(change.format("steps"))
            else:
                with psycopg.connect(keeping) as database:
                    database.execute(change.format("agent_steps"))


def test_runs_are_listed_newest_first_and_unknown_ones_are_not_there(keeping, monkeypatch):
    monkeypatch.setattr(journal_postgres, "_PAGE", 2)
    runs = [made() for _ in range(5)]
    assert [place.run for place in shelf.places()] == runs[::-1]
    seen = [place.changed() for place in shelf.places()]
    with shelf.find(runs[0]).open() as journal:
        journal.add("model", "0", "d", {})
    assert [place.changed() for place in shelf.places()][:-1] == seen[:-1]
    assert next(place for place in shelf.places() if place.run == runs[0]).changed() != seen[-1]
    for unknown in ("run_none", "../../etc/passwd", "run_' OR 1=1 --", "x" * 65, ""):
        with pytest.raises(NotFound):
            shelf.find(unknown)


def let_go(run):
    """Wait until nobody works on a run: the database has to notice that a process is gone."""
    until = time.monotonic() + 60
    while shelf.find(run).at_work():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_one_process_works_on_a_run_and_a_killed_one_lets_go_of_it(keeping):
    run = made()
    with shelf.find(run).open():
        assert shelf.find(run).at_work()
        with pytest.raises(Conflict, match="being worked on"):
            shelf.find(run).open()
    assert not shelf.find(run).at_work()
    command = [sys.executable, "-c", HOLD, run]
    other = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "URL": keeping}
    )
    try:
        assert other.stdout.readline() == "held\n"
        assert shelf.find(run).at_work()
        with pytest.raises(Conflict, match="being worked on"):
            shelf.find(run).open()
        assert len(shelf.read(run)) == 1
    finally:
        other.kill()
        other.communicate()
    let_go(run)
    with shelf.find(run).open() as journal:
        journal.add("model", "0", "d", {})


def test_a_journal_that_is_being_made_has_no_steps_yet():
    path = runs_folder() / f"{new_id('run_')}.db"
    path.touch()
    assert [view.state for view in views.runs()] == ["empty"]


def test_an_empty_journal_can_be_taken_away_and_a_full_one_cannot(keeping):
    empty = new_id("run_")
    shelf.place(empty).open(new=True).close()
    shelf.find(empty).remove()
    assert not shelf.place(empty).there()
    assert views.runs() == []


@pytest.fixture
def database(postgres_url):
    shelf.use(postgres_url)
    yield postgres_url
    shelf.use("sqlite")


def cut_connections(url):
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'aigrid agents'"
        )


@pytest.mark.xdist_group("postgres")
def test_a_run_whose_connection_was_lost_records_nothing_more_and_can_be_taken_up(database):
    run = made()
    journal = shelf.find(run).open()
    cut_connections(database)
    for _ in range(2):
        with pytest.raises(Unavailable, match="go on with the run"):
            journal.add("model", "0", "d", {"by": "the first"})
    journal.close()
    with shelf.find(run).open() as other:
        other.add("model", "0", "d", {"by": "the second"})
    assert [step.body for step in shelf.read(run)][1:] == [{"by": "the second"}]


@pytest.mark.xdist_group("postgres")
def test_of_two_that_both_think_a_run_is_theirs_one_is_refused(database):
    run = made()
    mine, theirs = journal_postgres.PostgresShelf(database), journal_postgres.PostgresShelf(database)
    first = mine.place(run).open()
    mine.writer.ask("SELECT pg_advisory_unlock_all()")  # as when a lock is lost without a word
    second = theirs.place(run).open()
    second.add("model", "0", "d", {})
    with pytest.raises(Conflict, match="another process went on"):
        first.add("tool", "call_0_0", "d", "paid")
    mine.close()
    theirs.close()


@pytest.mark.xdist_group("postgres")
async def test_a_run_goes_on_while_the_database_was_away_in_between(bench, postgres_server, database):
    tools = "  write: {kind: python, function: work.write, safe_to_retry: true}\n"
    restarted = []

    def away(request):
        if not restarted:
            postgres_server.stop()
            restarted.append(postgres_server.start())
        return [("write", {"text": "a"})]

    script = (away, "done")
    with pytest.raises(Unavailable):
        await bench.start(bench.agent(tools), ScriptedMind(*script))
    [place] = shelf.places()
    assert (await bench.resume(place.run, ScriptedMind(*script))).state == "done"
    assert bench.read("out.txt") == ["a"]
