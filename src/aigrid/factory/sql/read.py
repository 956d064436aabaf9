"""Questions with their SQL, as files have them: what was asked, what answers it, and the split that was published.

Read are the JSON of `jkkummerfeld/text2sql-data` (Finegan-Dollak et al., ACL 2018: sentences with variables, several
SQL per question), plain JSON or JSON lines with `question` and `sql`, gzipped or not.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aigrid.core.errors import BadRequest

Split = Literal["train", "dev", "test"]
NAMED: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True)
class Pair:
    """A question, the SQL that answers it, and its part of the data; `parents` are the ids of rows that it was made of."""

    id: str
    question: str
    sql: str
    split: Split = "train"
    parents: tuple[str, ...] = ()


def read(path: Path, by: str = "question-split") -> list[Pair]:
    """Return the pairs of a file, split as published (`by` names the field of text2sql-data that says so).

    Folds (numbers) become train, dev and test: the last two of ten are test, the one before dev. Where no split is
    given, a hash of the question decides. Raises `BadRequest` that says what the file lacks.
    """
    found = list(_pairs(_load(path), by))
    if not found:
        raise BadRequest(f"{path} holds no question with its SQL: each row needs `question` and `sql`")
    return _split(found)


def _load(path: Path) -> list[Any]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        if text.lstrip()[:1] == "[":
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} is no JSON or JSON lines of questions and SQL: {error}") from error


def _pairs(rows: Sequence[Any], by: str) -> Iterator[tuple[Pair, str]]:
    for at, row in enumerate(rows):
        if isinstance(row, dict) and "sentences" in row:
            yield from _group(at, row, by)
        elif isinstance(row, dict) and row.get("question") and (row.get("sql") or row.get("query")):
            sql = str(row.get("sql") or row["query"])
            yield Pair(str(row.get("id", at)), str(row["question"]), sql), str(row.get("split", ""))
        elif isinstance(row, list | tuple) and len(row) >= 2:
            yield Pair(str(at), str(row[0]), str(row[1])), str(row[2]) if len(row) > 2 else ""


def _group(at: int, row: dict[str, Any], by: str) -> Iterator[tuple[Pair, str]]:
    queries = row["sql"] if isinstance(row["sql"], list) else [row["sql"]]
    usual = {each["name"]: str(each.get("example", "")) for each in row.get("variables", []) if "name" in each}
    for number, sentence in enumerate(row["sentences"]):
        values = {**usual, **{name: str(value) for name, value in sentence.get("variables", {}).items()}}
        split = row.get("query-split", "") if by == "query-split" else sentence.get(by, "")
        yield (
            Pair(f"{at}.{number}", named(sentence["text"], values), named(queries[0], values, quoted=True)),
            str(split),
        )


def named(text: str, values: dict[str, str], quoted: bool = False) -> str:
    """Put values where a text has their variables; in SQL a quote within a value is doubled."""
    for name in sorted(values, key=len, reverse=True):
        value = values[name].replace('"', '""') if quoted else values[name]
        text = re.sub(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", lambda _, value=value: value, text)  # type: ignore[misc]
    return " ".join(text.split())


def _split(found: list[tuple[Pair, str]]) -> list[Pair]:
    names = {split for _, split in found}
    folds = sorted((name for name in names if name.isdigit()), key=int)
    if len(folds) >= 3:
        places: dict[str, Split] = dict.fromkeys(folds, "train")
        tests = max(1, len(folds) // 5)
        places[folds[-tests - 1]] = "dev"
        places |= dict.fromkeys(folds[-tests:], "test")
        return [replace(pair, split=places[split]) for pair, split in found if split in places]
    if names & set(NAMED):
        return [replace(pair, split=split) for pair, name in found for split in NAMED if split == name]
    return [replace(pair, split=_by_hash(pair.question)) for pair, _ in found]


def _by_hash(question: str) -> Split:
    tenth = int(hashlib.sha256(question.lower().encode()).hexdigest(), 16) % 10
    return "test" if tenth >= 8 else "dev" if tenth == 7 else "train"
