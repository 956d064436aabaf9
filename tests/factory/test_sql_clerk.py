"""A clerk built from files: rules learned, questions recombined, answers chosen, kept, loaded; with and without a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aigrid.core.errors import BadRequest
from aigrid.factory.sql import judge
from aigrid.factory.sql.build import Plan, apart, ask_all, clerk_with_model, plain_clerk, weigh
from aigrid.factory.sql.clerk import Clerk, NoAnswer
from aigrid.factory.sql.database import Database
from aigrid.factory.sql.lessons import lessons
from aigrid.factory.sql.read import Pair, read
from aigrid.factory.sql.synthesise import synthesise
from benchmarks import sql_library

PLAN = Plan(budget=250, folds=2, held=20)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, list[Pair], Path]:
    folder = tmp_path_factory.mktemp("books")
    database, questions = sql_library.make(folder)
    return Database(database), read(questions), folder


@pytest.fixture(scope="module")
def clerk(books: tuple[Database, list[Pair], Path]) -> Clerk:
    database, pairs, folder = books
    known = [pair for pair in pairs if pair.split != "test"]
    return plain_clerk(known, database, folder / "work", PLAN, lambda line: None)


def test_the_clerk_is_better_than_copying_the_nearest_question(
    books: tuple[Database, list[Pair], Path], clerk: Clerk
) -> None:
    database, pairs, _ = books
    tests = [pair for pair in pairs if pair.split == "test"]
    copied = judge.judge(tests, database, judge.nearest_copy(clerk.library.pairs))
    ours = judge.chosen(clerk.plain, ask_all(clerk, tests, None))
    assert ours.share >= 0.75
    assert ours.share > copied.share


def test_every_recombined_question_runs_and_keeps_its_parents(books: tuple[Database, list[Pair], Path]) -> None:
    database, pairs, _ = books
    known = [pair for pair in pairs if pair.split != "test"]
    made = synthesise(known, database, seed=3, budget=60)
    ids = {pair.id for pair in known}
    assert len(made) >= 40
    for each in made:
        assert not database.run(each.sql).empty
        assert len(each.parents) >= 2
        assert ids.issuperset(each.parents)
    assert {each.question for each in made}.isdisjoint(pair.question for pair in known)
    assert [each.sql for each in synthesise(known, database, seed=3, budget=60)] == [each.sql for each in made]


def test_an_answer_cites_the_pairs_it_goes_back_to_and_survives_its_folder(
    books: tuple[Database, list[Pair], Path], clerk: Clerk
) -> None:
    database, _, folder = books
    answer = clerk.answer("which authors are from japan")
    assert answer.sql == "select name from author where country = 'japan'"
    assert answer.rows.columns == ("name",)
    assert answer.cited
    assert 0 < answer.chance <= 1
    again = Clerk.load(folder / "work" / "clerk", database.path)
    assert again.answer("which authors are from japan") == answer


def test_a_clerk_refuses_another_database(
    books: tuple[Database, list[Pair], Path], clerk: Clerk, tmp_path: Path
) -> None:
    _, _, folder = books
    other, _ = sql_library.make(tmp_path, seed=12)
    with pytest.raises(BadRequest, match="not the database"):
        Clerk.load(folder / "work" / "clerk", other)


def test_a_model_is_asked_with_names_for_values_and_its_word_counts(
    books: tuple[Database, list[Pair], Path], clerk: Clerk, tmp_path: Path
) -> None:
    database, pairs, _ = books
    known = [pair for pair in pairs if pair.split != "test"]
    taught, held = apart(known, PLAN)
    assert {pair.id for pair in taught}.isdisjoint(pair.id for pair in held)
    right = {row["prompt"].splitlines()[-1]: row["completion"] for row in lessons(clerk.library, 9999, shown=0)}
    prompts: list[str] = []

    def generate(prompt: str, n: int) -> list[str]:
        prompts.append(prompt)
        return [right.get(prompt.splitlines()[-1], "no idea")] * n

    both = clerk_with_model(clerk, known, tmp_path, generate, PLAN, lambda line: None)
    assert prompts
    assert not any("japan" in prompt for prompt in prompts)
    decided = json.loads((tmp_path / "model.json").read_text())
    assert (both.with_model is not None) == (decided["with_model"] > decided["without"])
    weighed = weigh(clerk.plain, ask_all(clerk, held, generate, PLAN.samples))
    Clerk(clerk.library, clerk.plain, weighed).save(tmp_path / "clerk")
    answer = Clerk.load(tmp_path / "clerk", database.path).answer("which authors are from japan", generate)
    assert answer.sql == "select name from author where country = 'japan'"


def test_a_question_that_is_like_nothing_says_so(tmp_path: Path) -> None:
    database, _ = sql_library.make(tmp_path)
    pairs = [
        Pair(str(at), f"which authors are from {country}", f"SELECT name FROM author WHERE country = '{country}'")
        for at, country in enumerate(sql_library.COUNTRIES)
    ]
    clerk = plain_clerk(pairs, Database(database), tmp_path / "work", Plan(budget=0, folds=2), lambda line: None)
    with pytest.raises(NoAnswer, match="no known question"):
        clerk.answer("how tall is the tower")


def test_another_process_answers_alike(books: tuple[Database, list[Pair], Path], clerk: Clerk) -> None:
    """The saved arrays mean the same whatever the order in which a process walks through its sets."""
    database, pairs, folder = books
    questions = [pair.question for pair in pairs if pair.split == "test"][:12]
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from aigrid.factory.sql.clerk import Clerk\n"
        "clerk = Clerk.load(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(json.dumps([[a.sql, a.chance] for a in map(clerk.answer, json.loads(sys.argv[3]))]))\n"
    )
    arguments = [str(folder / "work" / "clerk"), str(database.path), json.dumps(questions)]
    found = [
        json.loads(
            subprocess.check_output(
                [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONHASHSEED": seed}, text=True
            )
        )
        for seed in ("1", "2")
    ]
    here = [clerk.answer(question) for question in questions]
    for answers in found:
        assert [sql for sql, _ in answers] == [answer.sql for answer in here]
        assert [chance for _, chance in answers] == pytest.approx([answer.chance for answer in here], abs=1e-4)
