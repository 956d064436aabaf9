"""Text to tokens and back, exactly as the engine that serves the model does it."""

from pathlib import Path
from typing import Any

from aigrid.core.errors import AigridError

_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_CONTROL, _USER = 3, 4


class Tokens:
    """A tokenizer with its chat template. `end` is the token that ends an answer."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped
        self.end = int(wrapped.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, none added."""
        return list(self.wrapped.encode(text, add_special_tokens=False))

    def decode(self, tokens: list[int]) -> str:
        """Return the text of tokens, special ones left out."""
        return str(self.wrapped.decode(tokens, skip_special_tokens=True))

    def chat(self, messages: list[dict[str, Any]]) -> str:
        """Return the prompt of a chat, ready for the assistant's answer."""
        if not self.wrapped.chat_template:
            return "\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\nassistant:"
        return str(self.wrapped.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def from_folder(path: Path) -> Tokens:
    """Return the tokenizer of a Hugging Face folder."""
    from transformers import AutoTokenizer

    return Tokens(AutoTokenizer.from_pretrained(path))


def from_gguf(reader: Any, path: Path) -> Tokens:
    """Return the tokenizer inside a GGUF file; raises `AigridError` for a splitting rule it does not know."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from aigrid.factory.lora.gguf_file import field

    words, kinds = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, merges))
    rule = field(reader, "tokenizer.ggml.pre")
    if rule == "smollm":
        splitters = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    elif rule == "qwen2":
        splitters = [
            pre_tokenizers.Split(Regex(_QWEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    else:
        raise AigridError(
            f"{path.name} splits text by the `{rule}` rule, which training does not know", code="unsupported_model"
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitters)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(word, special=kind == _CONTROL, normalized=False)
               for word, kind in zip(words, kinds, strict=True) if kind in (_CONTROL, _USER)]  # fmt: skip
    tokenizer.add_special_tokens([token for token in special if token.special])
    tokenizer.add_tokens([token for token in special if not token.special])
    end = words[field(reader, "tokenizer.ggml.eos_token_id")]
    template = field(reader, "tokenizer.chat_template")
    return Tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, chat_template=template))
