"""Curate: from files as they are to rows worth learning from, with a report of what was dropped, and why.

In this order: read, normalise, quality, language, exact duplicates, near duplicates, personal data, splits by hash,
contamination. A row that shares text with an evaluation stops the line, unless the line says to drop such rows.
"""

import functools
import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from aigrid.core.config import home
from aigrid.core.errors import BadRequest
from aigrid.factory import digest, near, rows, sources
from aigrid.factory.base import Job
from aigrid.factory.rows import Row
from aigrid.factory.sources import Source
from aigrid.factory.spread import Spread
from aigrid.guard import pii
from aigrid.guard.vault import Vault, owner_key

CODE = ("aigrid.factory.near", "aigrid.factory.sources", "aigrid.factory.rows", "aigrid.guard")
OWN_CODE = True
_EXAMPLES = 5
_EVERY = 500
Share = Annotated[float, Meta(ge=0, le=1)]


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What a line may say about curating.

    `near` is the Jaccard similarity from which two inputs count as one (0: keep all). `contaminated` is what a row gets
    that shares `words` words in a row with an evaluation. `personal` data are kept,
    replaced by tokens that only the owner of this factory's key can turn back, or their rows dropped. `languages` are ISO 639-1 codes to keep (none: all).
    `dev` and `test` are shares of the rows whose split no source fixes.
    """

    sources: Annotated[list[Source], Meta(min_length=1)]
    least: Annotated[int, Meta(ge=1)] = 1
    most: Annotated[int, Meta(ge=1)] = 20_000
    unanswered: Literal["drop", "keep"] = "drop"
    languages: list[str] = []
    near: Share = 0.0
    personal: Literal["keep", "replace", "drop"] = "keep"
    contaminated: Literal["error", "drop"] = "error"
    words: Annotated[int, Meta(ge=3)] = 13
    dev: Share = 0.1
    test: Share = 0.0


class Judged(NamedTuple):
    """A row, and why it is dropped: a reason that is counted, and what is wrong with this one."""

    row: Row
    reason: str = ""
    why: str = ""


class Drops:
    """Rows that were dropped, by reason, with a few examples of each; `masked`, they show no personal data."""

    def __init__(self, masked: bool) -> None:
        self._masked = masked
        self.count: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, str]]] = defaultdict(list)

    def add(self, reason: str, row: Row, why: str) -> None:
        """Count a row; the first few of a reason are kept as examples."""
        self.count[reason] += 1
        if len(self.examples[reason]) < _EXAMPLES:
            text, why = (_mask(row.input), _mask(why)) if self._masked else (row.input, why)
            self.examples[reason].append({"input": text[:200], "why": why})


def _mask(text: str) -> str:
    """Return a text with the kind of each piece of personal data in its place."""
    at, parts = 0, list[str]()
    for span in pii.find(text):
        parts += (text[at : span.start], f"<{span.kind}>")
        at = span.end
    return "".join((*parts, text[at:]))


def depends(line: str, settings: Settings, after: Mapping[str, str]) -> str:
    """Return what the result depends on beside the line: this factory's own rows, where sources read them."""
    if not any(source.read in sources.OWN for source in settings.sources):
        return ""
    return digest.of_value([msgspec.to_builtins(each) for each in sources.own(line, settings.sources)])


def run(job: Job, settings: Settings) -> None:
    """Write `rows.jsonl` and `report.json`."""
    drops = Drops(masked=settings.personal != "keep")
    read = [(source.evaluate, row) for source in settings.sources for row in _read(source, job)]
    kept: list[Row] = []
    examined: set[str] = set()
    judged = job.spread.map(partial(judge, settings=settings), [row for _, row in read])
    for at, ((evaluate, _), (row, reason, why)) in enumerate(zip(read, judged, strict=True)):
        if at % _EVERY == 0:
            job.tell(at, len(read), "cleaning")
        if evaluate:
            examined.add(row.id)
        if reason:
            drops.add(reason, row, why)
        else:
            kept.append(row)
    kept = _once(kept, settings, drops, examined, job.spread)
    kept = list(_private(kept, settings, drops, job))
    kept = list(split(kept, job.seed, settings.dev, settings.test))
    kept = _apart(kept, settings, drops, job.spread)
    rows.write(job.out / "rows.jsonl", kept)
    splits = Counter(row.split for row in kept)
    report = {
        "read": len(read),
        "kept": len(kept),
        "splits": dict(sorted(splits.items())),
        "dropped": {reason: drops.count[reason] for reason in sorted(drops.count)},
        "examples": {reason: drops.examples[reason] for reason in sorted(drops.examples)},
        "outputs": dict(Counter(row.text[:80] for row in kept).most_common(20)),
    }
    (job.out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    job.say(read=len(read), **{str(name): splits[name] for name in ("train", "dev", "test")})
    job.say(**{f"dropped: {reason}": count for reason, count in sorted(drops.count.items())})


def normal(text: str) -> str:
    """Return a text in Unicode's NFC, without control characters and without space around it or within lines twice."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs", "Co"))
    return "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()


def split(found: Iterable[Row], seed: int, dev: float, test: float) -> Iterator[Row]:
    """Yield rows with a split: fixed by a hash of each row's group (else of the row), so that new rows move no old one.

    Stratified by what is to be answered: an output with rows enough for it has at least one in each split, the first
    by hash.
    """
    strata: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    fixed: list[Row] = []
    for row in found:
        if row.split:
            fixed.append(row)
        else:
            of = hashlib.sha256(f"{seed}:{row.group or row.id}".encode()).digest()
            strata[row.text if len(row.text) <= 80 else ""].append((int.from_bytes(of[:8]) / 2**64, row))
    yield from fixed
    for stratum in strata.values():
        stratum.sort(key=lambda pair: (pair[0], pair[1].id))
        single = not any(row.group for _, row in stratum)  # a group stays together, whatever that leaves empty
        needs_test, needs_dev = (single and len(stratum) * share >= 1 for share in (test, dev))
        for place, row in stratum:
            if place < test or needs_test:
                needs_test = False
                yield msgspec.structs.replace(row, split="test")
            elif place < test + dev or needs_dev:
                needs_dev = False
                yield msgspec.structs.replace(row, split="dev")
            else:
                yield msgspec.structs.replace(row, split="train")


def _read(source: Source, job: Job) -> Iterator[Row]:
    for at, row in enumerate(sources.rows(source, job)):
        if at % _EVERY == 0:
            job.tell(at, None, f"reading {source.data or source.read}")
        yield row


def judge(found: Sequence[Row], settings: Settings) -> list[Judged]:
    """Return each row, normalised and named, with the reason to drop it: empty where it is worth keeping."""
    speaks = _language(tuple(settings.languages))
    judged = []
    for each in found:
        output = normal(each.output) if isinstance(each.output, str) else each.output
        row = rows.named(msgspec.structs.replace(each, input=normal(each.input), output=output))
        reason = why = ""
        if len(row.input) < settings.least:
            reason, why = "too short", f"{len(row.input)} characters, at least {settings.least} wanted"
        elif len(row.input) > settings.most:
            reason, why = "too long", f"{len(row.input)} characters, at most {settings.most} wanted"
        elif settings.unanswered == "drop" and row.output in (None, "") and row.split != "test":
            reason, why = "no answer", "nothing to learn from it"
        elif row.input.count("\ufffd") > len(row.input) // 100:
            reason, why = "broken text", "characters that could not be decoded"
        elif language := speaks(row.input):
            reason, why = "language", f"{language}, wanted {', '.join(settings.languages)}"
        judged.append(Judged(row, reason, why))
    return judged


@functools.cache
def _language(wanted: tuple[str, ...]) -> Callable[[str], str]:
    """Return what says which language a text is in where that is not wanted; texts too short to tell are kept."""
    if not wanted:
        return lambda text: ""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def unwanted(text: str) -> str:
        language, sure = identifier.classify(text)
        return str(language) if language not in wanted and sure > 0.9 and len(text) >= 20 else ""

    return unwanted


def _once(found: list[Row], settings: Settings, drops: Drops, examined: set[str], spread: Spread) -> list[Row]:
    """Drop exact and near duplicates, among rows for learning: an evaluation stays as it was made."""
    kept: list[Row] = []
    seen: dict[str, Row] = {}
    for row in found:
        if row.id in examined:
            kept.append(row)
            continue
        key = rows.canonical([row.input.casefold(), row.output])
        if key in seen:
            drops.add("duplicate", row, f"the same as {seen[key].id}")
        else:
            seen[key] = row
            kept.append(row)
    learnt = [row for row in kept if row.id not in examined]
    gone: set[int] = set()
    if settings.near:
        for at, other, alike in spread.near([row.input for row in learnt], settings.near):
            if learnt[at].text == learnt[other].text:
                drops.add("near duplicate", learnt[at], f"{alike:.2f} like `{learnt[other].input[:100]}`")
                gone.add(at)
    ids = {learnt[at].id for at in gone}
    return [row for row in kept if row.id not in ids]


def _private(found: list[Row], settings: Settings, drops: Drops, job: Job) -> Iterator[Row]:
    """Yield rows without personal data; what tokens stand for is in a vault in AIGRID_HOME, never in the result."""
    if settings.personal == "keep":
        yield from found
    elif settings.personal == "drop":
        for row in found:
            if spans := pii.find(f"{row.input}\n{row.text}"):
                drops.add("personal data", row, ", ".join(sorted({span.kind for span in spans})))
            else:
                yield row
    else:
        path = home() / "factory" / "vaults" / f"{job.about['line']}-{job.work.parent.name[:16]}.vault"
        path.unlink(missing_ok=True)  # of a try that was cut off: the same rows give the same tokens again
        with Vault(path, owner_key()) as vault:
            for row in found:
                output = _replaced(row.output, vault)
                yield msgspec.structs.replace(
                    row, input=vault.replace(row.input), output=output, meta=_replaced(row.meta, vault)
                )
            job.say(personal=len(vault))


def _replaced(value: Any, vault: Vault) -> Any:
    if isinstance(value, str):
        return vault.replace(value)
    if isinstance(value, dict):
        return {key: _replaced(each, vault) for key, each in value.items()}
    return [_replaced(each, vault) for each in value] if isinstance(value, list) else value


def _hits(found: Sequence[Row], grams: frozenset[str], words: int) -> list[str]:
    return [near.shared(row.input, grams, words) if row.split != "test" else "" for row in found]


def _apart(found: list[Row], settings: Settings, drops: Drops, spread: Spread) -> list[Row]:
    """Drop or refuse rows for learning that share text with what they will be examined on."""
    grams = near.all_ngrams((row.input for row in found if row.split == "test"), settings.words)
    kept, hits = [], list[tuple[Row, str]]()
    shared = spread.map(partial(_hits, grams=grams, words=settings.words), found)
    for row, gram in zip(found, shared, strict=True):
        if gram:
            hits.append((row, gram))
            drops.add("contaminated", row, f"an evaluation has `{gram[:100]}`")
        else:
            kept.append(row)
    if hits and settings.contaminated == "error":
        shown = "; ".join(f"`{row.input[:80]}` shares `{gram[:60]}`" for row, gram in hits[:3])
        raise BadRequest(
            f"{len(hits)} rows share text with an evaluation: {shown}. Remove them, or drop them with"
            " `contaminated: drop`; a worker that was taught its examination proves nothing",
            code="contaminated",
        )
    return kept
