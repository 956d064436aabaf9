from pathlib import Path

import pytest

from benchmarks.knowledge_speed import sample, scaled


def test_a_sample_has_each_format_in_proportion_and_nothing_twice() -> None:
    chosen = {"pdf": [Path(f"{at}.pdf") for at in range(20)], "md": [Path(f"{at}.md") for at in range(180)], "txt": []}
    found = sample(chosen, 50)
    assert len(set(found)) == len(found) == 50
    assert sum(path.suffix == ".pdf" for path in found) == 5
    assert sample(chosen, 200) == chosen["pdf"] + chosen["md"]


def test_what_does_not_grow_with_the_documents_is_not_scaled() -> None:
    its = {
        "file_s": [1.0, 1.0],
        "file_chunks": [10, 10],
        "chunks": 20,
        "spent_s": {"embed": 2.0},
        "first_answer_s": 14.0,  # 10 to load, 2 to read, 2 to embed
    }
    assert scaled(its, 2)["median"] == pytest.approx(14.0)
    assert scaled(its, 100) == {"median": 210.0, "p5": 210.0, "p95": 210.0, "n": 2}
