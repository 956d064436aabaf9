"""Curating: what goes in, what is dropped and why, where rows go, and that no examination leaks into the lessons."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.errors import BadRequest, ConfigError
from aigrid.factory import near, rows, run
from aigrid.factory.curate import normal, split
from aigrid.factory.line import load
from aigrid.factory.rows import Row


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "home"))


def curate(folder: Path, files: dict[str, str | bytes], settings: dict[str, Any]) -> tuple[list[Row], dict[str, Any]]:
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    data = {Path(name).stem.replace(".", "_"): {"file": name} for name in files if not name.endswith(".py")}
    (folder / "line.yaml").write_text(json.dumps({"line": "t", "data": data, "stages": [{"curate": settings}]}))
    out = run.result(run.build(load(folder)).stages[0].key)
    return rows.read(out), json.loads((out / "report.json").read_text())


def lines(*found: Any) -> str:
    return "".join(json.dumps(each) + "\n" for each in found)


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    items = [{"q": f"question {at}", "a": f"answer {at}"} for at in range(3)]
    parquet.write_table(pa.Table.from_pylist(items), tmp_path / "p.parquet")
    chat = [
        {"messages": [{"role": "user", "content": i["q"]}, {"role": "assistant", "content": i["a"]}]} for i in items
    ]
    reader = "def read(path):\n    for line in open(path):\n        q, a = line.strip().split(';')\n        yield {'input': q, 'output': a}\n"
    files: dict[str, str | bytes] = {
        "j.jsonl": lines(*items),
        "g.jsonl.gz": gzip.compress(lines(*items).encode()),
        "c.csv": "q,a\n" + "".join(f"{i['q']},{i['a']}\n" for i in items),
        "p.parquet": (tmp_path / "p.parquet").read_bytes(),
        "t.jsonl": lines(*chat),
        "o.txt": "".join(f"{i['q']};{i['a']}\n" for i in items),
        "reader.py": reader,
    }
    for name, read in {
        "j": "jsonl",
        "g_jsonl": "jsonl",
        "c": "csv",
        "p": "parquet",
        "t": "chat",
        "o": "reader.py:read",
    }.items():
        fields = {"input": "q", "output": "a"} if read in ("jsonl", "csv", "parquet") else {}
        found, report = curate(tmp_path, files, {"sources": [{"data": name, "read": read, **fields}], "dev": 0})
        assert [(row.input, row.output) for row in found] == [(i["q"], i["a"]) for i in items]
        assert report["read"] == 3


@pytest.mark.parametrize(
    ("file", "read", "said"),
    [
        (b'{"input": 1}\n', "jsonl", "d:1: `input` is no text"),
        (b'{"input": "x"}\n{"in": "x"}\n', "jsonl", "d:2 has no `input` .it has `in`.; say which field"),
        (b"{\n", "jsonl", "d.x:1 is not JSON"),
        (b"[1]\n", "jsonl", "is no object"),
        (b"\xff\n", "jsonl", "is not JSON"),
        (b"input,output\na\n", "csv", "d.x:2 has not as many fields"),
        (b"input,output\n\xff,a\n", "csv", "not UTF-8"),
        (b"no", "parquet", "is not Parquet"),
        (b'{"messages": []}\n', "chat", "ends with what the assistant answered"),
        (b'{"messages": [{"role": "user"}, {"role": "assistant"}]}\n', "chat", "must be text"),
        (b'{"input": "x", "split": "exam"}\n', "jsonl", "train, dev or test"),
        (b"", "nothing.py:read", "neither one of"),
        (b"", "xml", "neither one of"),
    ],
)
def test_bad_input_is_refused_with_its_place(tmp_path: Path, file: bytes, read: str, said: str) -> None:
    with pytest.raises((BadRequest, ConfigError), match=said):
        curate(tmp_path, {"d.x": file}, {"sources": [{"data": "d", "read": read}]})


def test_what_is_dropped_is_counted_with_examples(tmp_path: Path) -> None:
    items = [
        {"input": "book a table for two at eight please", "output": "a"},
        {"input": "Book a table for two at eight please", "output": "a"},
        {"input": "book a table for two at eight please!!", "output": "a"},
        {"input": "book a table for two at eight please?", "output": "b"},
        {"input": "ja", "output": "a"},
        {"input": "Ich möchte bitte einen Tisch für zwei Personen reservieren", "output": "a"},
        {"input": "no answer to this one", "output": None},
        {"input": "x" * 300, "output": "a"},
    ]
    settings = {"sources": [{"data": "d"}], "near": 0.8, "least": 3, "most": 200, "languages": ["en"], "dev": 0}
    found, report = curate(tmp_path, {"d.jsonl": lines(*items)}, settings)
    assert [row.output for row in found] == ["a", "b"]
    assert report["dropped"] == {
        "duplicate": 1, "language": 1, "near duplicate": 1, "no answer": 1, "too long": 1, "too short": 1,
    }  # fmt: skip
    assert "like `book a table" in report["examples"]["near duplicate"][0]["why"]


def test_a_row_that_shares_text_with_an_evaluation_stops_the_line(tmp_path: Path) -> None:
    text = "which of the twelve rivers of this country runs through the most of its states today"
    files: dict[str, str | bytes] = {
        "train.jsonl": lines(
            {"input": f"tell me {text} and why", "output": "x"}, {"input": "another one", "output": "y"}
        ),
        "test.jsonl": lines({"input": f"{text}?", "output": "x"}),
    }
    settings: dict[str, Any] = {"sources": [{"data": "train"}, {"data": "test", "evaluate": True}], "dev": 0}
    with pytest.raises(BadRequest, match="1 rows share text with an evaluation: `tell me which") as caught:
        curate(tmp_path, files, settings)
    assert caught.value.code == "contaminated"
    found, report = curate(tmp_path, files, {**settings, "contaminated": "drop"})
    assert [(row.input, row.split) for row in found] == [(f"{text}?", "test"), ("another one", "train")] or {
        (row.input, row.split) for row in found
    } == {(f"{text}?", "test"), ("another one", "train")}
    assert report["dropped"] == {"contaminated": 1}


def test_personal_data_are_replaced_and_only_the_owner_can_turn_them_back(tmp_path: Path) -> None:
    from aigrid.core.config import home
    from aigrid.guard.vault import Vault, owner_key

    items = [
        {"input": "write to ann.lee@example.org about it", "output": {"mail": "ann.lee@example.org"}},
        {"input": "nothing private here", "output": {"mail": ""}},
        {"input": "Write to ann.lee@example.org about it", "output": {"mail": "ann.lee@example.org"}},
    ]
    settings = {"sources": [{"data": "d"}], "personal": "replace", "dev": 0}
    found, report = curate(tmp_path, {"d.jsonl": lines(*items)}, settings)
    assert "ann.lee" not in json.dumps(report)
    assert report["dropped"] == {"duplicate": 1}
    assert [row.input for row in found] == ["write to <EMAIL_1> about it", "nothing private here"]
    assert found[0].output == {"mail": "<EMAIL_1>"}
    [vault] = (home() / "factory" / "vaults").glob("t-*.vault")
    assert b"ann.lee" not in vault.read_bytes()
    assert Vault(vault, owner_key()).restore(found[0].input) == items[0]["input"]
    with pytest.raises(ConfigError, match="not its key"):
        Vault(vault, bytes(32))
    found, report = curate(tmp_path, {"d.jsonl": lines(*items)}, {**settings, "personal": "drop"})
    assert [row.input for row in found] == ["nothing private here"]
    assert report["dropped"] == {"duplicate": 1, "personal data": 1}
    assert "ann.lee" not in json.dumps(report)


@given(st.lists(st.text(st.sampled_from("ab "), max_size=12), max_size=30), st.integers(0, 3))
def test_splits_do_not_move_when_rows_come(texts: list[str], seed: int) -> None:
    found = [rows.named(Row(text, "same")) for text in dict.fromkeys(texts)]
    where = {row.id: row.split for row in split(found, seed, 0.2, 0.2)}
    assert set(where.values()) <= {"train", "dev", "test"}
    assert where == {row.id: row.split for row in split(reversed(found), seed, 0.2, 0.2)}
    grouped = [Row(str(at), "x", id=str(at), group=str(at % 3)) for at in range(30)]
    places = {(row.group, row.split) for row in split(grouped, seed, 0.3, 0.3)}
    assert len(places) == 3


def test_every_label_is_in_every_split() -> None:
    found = [rows.named(Row(f"{label} {at}", label)) for label in "abc" for at in range(20)]
    for name in ("train", "dev", "test"):
        assert {row.output for row in split(found, 1, 0.1, 0.1) if row.split == name} == {"a", "b", "c"}


@given(st.lists(st.text(st.sampled_from("abcde "), min_size=20, max_size=40), max_size=25))
def test_near_duplicates_are_those_of_comparing_all(texts: list[str]) -> None:
    texts += [text + "e" for text in texts[:10]]
    assert list(near.near(texts, 0.85)) == list(near.near_naive(texts, 0.85))


@given(st.text())
def test_normal_text_stays_as_it_is(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def test_without_ray_a_cluster_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from aigrid.factory import on_ray

    monkeypatch.setattr(on_ray.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'aigrid\[ray\]'"):
        on_ray.OnRay()
