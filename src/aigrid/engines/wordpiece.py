"""BERT's tokens: WordPiece on lower-cased text without accents, exactly as the model was trained.

All that happens to a single character (what is dropped, what is a space, what stands alone) is worked out once and
kept, and so are the pieces of each word: most text is then two look-ups. No library is needed.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aigrid.core.errors import AigridError

_LONGEST_WORD = 100
_MOST_WORDS = 1 << 16
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class _Model(msgspec.Struct):
    vocab: dict[str, int]
    unk_token: str = "[UNK]"


class _Added(msgspec.Struct):
    id: int
    content: str


class _File(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []


class _Characters(dict[int, str]):
    """What each character becomes before words are split at spaces; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        text = self[code] = _normal(chr(code))
        return text


def _normal(char: str) -> str:
    if char not in "\t\n\r" and (char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs")):
        return ""
    if char.isspace():
        return " "
    bare = "".join(part for part in unicodedata.normalize("NFD", char) if unicodedata.category(part) != "Mn")
    low = "".join(f" {part} " if _alone(part) else part for part in bare.replace("Σ", "σ").lower())
    return f" {low} " if any(first <= ord(char) <= last for first, last in _IDEOGRAPHS) else low


def _alone(char: str) -> bool:
    return unicodedata.category(char).startswith("P") or (char.isascii() and not char.isalnum() and not char.isspace())


class WordPiece:
    """A tokenizer read from `tokenizer.json`. `first` and `last` are the ids put around every text."""

    def __init__(self, path: Path) -> None:
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_File)
            self._vocabulary = file.model.vocab
            self.first, self.last = self._vocabulary["[CLS]"], self._vocabulary["[SEP]"]
            self._unknown = self._vocabulary[file.model.unk_token]
        except (OSError, msgspec.DecodeError, KeyError) as error:
            raise AigridError(f"{path} is not a BERT tokenizer: {error}", code="unsupported_model") from error
        self.size = len(self._vocabulary)
        self._names: list[str] = []
        self._special = {added.content: added.id for added in file.added_tokens}
        self._splitter = re.compile("|".join(f"({re.escape(mark)})" for mark in self._special) or "(?!)")
        self._characters = _Characters()
        self._words: dict[str, list[int]] = {}

    def encode(self, text: str, limit: int) -> list[int]:
        """Return the ids of a text, at most `limit` of them, `first` and `last` among them."""
        ids = [self.first]
        if "[" in text:
            for part in filter(None, self._splitter.split(text)):
                if part in self._special:
                    ids.append(self._special[part])
                else:
                    self._add(part, ids, limit)
        else:
            self._add(text, ids, limit)
        del ids[limit - 1 :]
        ids.append(self.last)
        return ids

    def encode_all(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text, limit) for text in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces of text that ids stand for; `##` starts one that goes on a word."""
        if not self._names:
            self._names = [""] * (max(self._vocabulary.values()) + 1)
            for piece, number in self._vocabulary.items():
                self._names[number] = piece
        return [self._names[number] for number in ids]

    def _add(self, text: str, ids: list[int], limit: int) -> None:
        known = self._words
        for word in text.translate(self._characters).split():
            pieces = known.get(word)
            ids += self._split(word) if pieces is None else pieces
            if len(ids) >= limit:
                return

    def _split(self, word: str) -> list[int]:
        """Return the longest known pieces of a word from left to right, or `[UNK]` where there is a gap."""
        pieces: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                found = self._vocabulary.get(prefix + word[start:end])
                if found is not None:
                    pieces.append(found)
                    start = end
                    break
            else:
                break
        if start < len(word):
            pieces = [self._unknown]
        if len(self._words) >= _MOST_WORDS:
            self._words.clear()
        if len(word) <= _LONGEST_WORD:
            self._words[word] = pieces
        return pieces
