"""From blocks to chunks: a source's plain text, cut where its meaning allows, with exact places.

The plain text is made of units (a short block, a sentence, rows of a table, lines of code) that are never cut; a chunk
is a run of units, so that its text is a slice of the plain text. Chunks end at headings and sentence ends.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from aigrid.knowledge.base import Chunk, Parsed, Source
from aigrid.knowledge.chunk_units import Unit, units_of
from aigrid.knowledge.language import estimate_tokens

TARGET_TOKENS = 200
WINDOW_TOKENS = 256
OVERLAP_TOKENS = 32
_LEAST_LIMIT = 64
_PAGED = frozenset({"pptx", "xlsx"})
_MOST_CONTEXT = 300


def chunks_of(
    source: Source,
    parsed: Parsed,
    *,
    target_tokens: int = TARGET_TOKENS,
    window_tokens: int = WINDOW_TOKENS,
    overlap_tokens: int = OVERLAP_TOKENS,
) -> tuple[str, list[Chunk]]:
    """Return a source's plain text and its chunks; `plain[chunk.start:chunk.end] == chunk.text` for each.

    Chunks aim at `target_tokens` (estimated) and, with their context, stay within `window_tokens`; where a section has
    to be cut, up to `overlap_tokens` of whole sentences are repeated. An unchanged chunk keeps its id.
    """
    title = source.title or parsed.title
    plain, units = units_of(parsed.blocks, target_tokens)
    packer = _Packer(units, title, target_tokens, window_tokens, overlap_tokens, parsed.kind in _PAGED)
    seen: dict[str, int] = {}
    chunks: list[Chunk] = []
    for position, run in enumerate(packer.runs()):
        heading = _heading(run)
        text = plain[run[0].start : run[-1].end]
        name = f"{source.id}\0{title}\0{' '.join(heading)}\0{text}"
        number = seen[name] = seen.get(name, -1) + 1
        identifier = hashlib.blake2b(f"{name}\0{number}".encode("utf-8", "replace"), digest_size=16).hexdigest()
        chunks.append(
            Chunk(
                id=identifier,
                source_id=source.id,
                position=position,
                text=text,
                start=run[0].start,
                end=run[-1].end,
                path=source.path,
                title=title,
                heading=heading,
                page=run[0].page,
                line=run[0].line,
                last_line=run[-1].last_line,
                kind=_kind(run),
                readers=source.readers,
            )
        )
    return plain, chunks


@dataclass
class _Packer:
    """Packs units into runs, each a chunk."""

    units: list[Unit]
    title: str
    target: int
    window: int
    overlap: int
    paged: bool

    def runs(self) -> Iterator[list[Unit]]:
        """Yield the units of each chunk, in order."""
        run: list[Unit] = []
        size = 0
        for unit in self.units:
            if run and self._ends(run, size, unit):
                carried = self._carried(run, unit)
                kept = run[: len(run) - len(carried)] if carried and carried[0].leads else run
                if kept:
                    yield kept
                run, size = carried, sum(each.tokens for each in carried)
            run.append(unit)
            size += unit.tokens
        if run:
            yield run

    def _ends(self, run: list[Unit], size: int, unit: Unit) -> bool:
        """Say whether a unit begins a new chunk after this run."""
        if all(each.kind == "heading" for each in run):
            return size + unit.tokens > self.window and unit.kind == "heading"
        if unit.page != run[-1].page and (self.paged or size >= self.target // 2):
            return True
        if unit.kind == "heading" or unit.heading != run[-1].heading:
            return size >= self.target // 3 or size + unit.tokens > self._limit(unit)
        return size + unit.tokens > self._limit(unit)

    def _limit(self, unit: Unit) -> int:
        """Return how many tokens a chunk may have, so that its context fits into the window with it."""
        context = estimate_tokens(self.title) + sum(map(estimate_tokens, unit.heading))
        return max(_LEAST_LIMIT, min(self.target, self.window - 4 - context))

    def _carried(self, run: list[Unit], unit: Unit) -> list[Unit]:
        """Return the units at the end of a run that the next chunk begins with: what leads to it, or an overlap."""
        at = len(run)
        while at > 1 and run[at - 1].leads and run[at - 1].page == unit.page and len(run) - at < 4:
            at -= 1
        if at < len(run):
            return run[at:]
        if unit.kind == "heading" or unit.heading != run[-1].heading or unit.kind != run[-1].kind:
            return []
        left = self.overlap
        while at > 1 and run[at - 1].kind in ("text", "list") and run[at - 1].tokens <= left and not run[at - 1].leads:
            at -= 1
            left -= run[at].tokens
            if run[at].block != unit.block:
                break
        return run[at:]


def _heading(run: list[Unit]) -> tuple[str, ...]:
    """Return the headings that all units of a run stand under; the first unit's where they share none."""
    shared = run[0].heading
    for unit in run[1:]:
        if unit.heading[: len(shared)] != shared:
            both = 0
            while both < min(len(shared), len(unit.heading)) and shared[both] == unit.heading[both]:
                both += 1
            shared = shared[:both]
    shared = shared or run[0].heading
    return shared if sum(map(len, shared)) <= _MOST_CONTEXT else (shared[0][:100], shared[-1][:200])


def _kind(run: list[Unit]) -> str:
    """Return the kind that most of a run's text is of."""
    sizes: dict[str, int] = {}
    for unit in run:
        sizes[unit.kind] = sizes.get(unit.kind, 0) + (unit.end - unit.start if unit.kind != "heading" else 0)
    return max(sizes, key=lambda kind: sizes[kind])
