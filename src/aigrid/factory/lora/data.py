"""Rows as tokens: which of them are learnt, in what order, in which packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aigrid.core.errors import BadRequest
from aigrid.factory.lora.model import Pack, pack
from aigrid.factory.lora.settings import Row
from aigrid.factory.lora.tokens import Tokens


@dataclass(frozen=True)
class Example:
    """A row's tokens; those from `start` are its completion."""

    tokens: list[int]
    start: int


@dataclass(frozen=True)
class Part:
    """Examples that are computed at once: their pack, the positions that predict a completion token, and those tokens.

    `members` are their places in the list that the part was cut from; `owners` says whose each position is.
    """

    pack: Pack
    at: torch.Tensor
    targets: torch.Tensor
    members: list[int]
    owners: torch.Tensor


def examples(rows: Sequence[Row], tokens: Tokens, longest: int) -> list[Example]:
    """Turn rows into tokens; raises `BadRequest` that names the first row which cannot be used."""
    return [_example(number, row, tokens, longest) for number, row in enumerate(rows)]


def _example(number: int, row: Row, tokens: Tokens, longest: int) -> Example:
    prompt, completion = row.get("prompt"), row.get("completion")
    messages: Any = row.get("messages")
    if isinstance(messages, list) and messages and messages[-1].get("role") == "assistant":
        prompt, completion = messages[:-1], messages[-1].get("content")
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt or not isinstance(completion, str) or not completion:
        raise BadRequest(
            f"row {number} has no prompt with a completion: give `prompt` and `completion`, or `messages` that end "
            "with the assistant's answer",
            param=f"rows[{number}]",
        )
    asked = tokens.encode(tokens.chat(prompt))
    whole = [*asked, *tokens.encode(completion), tokens.end]
    if len(whole) > longest:
        raise BadRequest(
            f"row {number} has {len(whole)} tokens, more than {longest}: shorten it or raise `longest`",
            param=f"rows[{number}]",
        )
    return Example(whole, len(asked))


def common_prefix(rows: Sequence[Example]) -> int:
    """Return how many first tokens all rows share, of those that predict no completion in any row."""
    most = min(row.start for row in rows) - 1
    first = rows[0].tokens
    for row in rows[1:]:
        at = 0
        while at < most and row.tokens[at] == first[at]:
            at += 1
        most = at
    return most


def order(count: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the rows in an epoch: a function of the seed alone, so that a resumed run needs no state."""
    return [int(at) for at in np.random.default_rng([seed, epoch]).permutation(count)]


def parts(
    rows: Sequence[Example], chosen: Sequence[int], prefix: int, micro_tokens: int, device: torch.device
) -> list[Part]:
    """Cut some rows into parts of at most `micro_tokens` tokens, rows of like length together."""
    groups: list[list[int]] = []
    room = 0
    for index in sorted(chosen, key=lambda at: (len(rows[at].tokens), at)):
        own = len(rows[index].tokens) - prefix
        if own > room:
            groups.append([])
            room = max(micro_tokens - prefix, own)
        groups[-1].append(index)
        room -= own
    return [_part(rows, group, prefix, device) for group in groups]


def _part(rows: Sequence[Example], members: list[int], prefix: int, device: torch.device) -> Part:
    at: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    offset = 0
    for number, index in enumerate(members):
        row = rows[index]
        at += range(offset + row.start - 1, offset + len(row.tokens) - 1)
        targets += row.tokens[row.start :]
        owners += [number] * (len(row.tokens) - row.start)
        offset += len(row.tokens) - prefix
    return Part(
        pack([rows[index].tokens for index in members], prefix, device),
        torch.tensor(at, device=device),
        torch.tensor(targets, device=device),
        members,
        torch.tensor(owners, device=device),
    )
