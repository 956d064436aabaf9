"""A very small Llama with a tokenizer of bytes, as a Hugging Face folder: trains in seconds."""

from pathlib import Path


def make(folder: Path, family: str = "llama") -> Path:
    """Write the model into `folder` and return it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: at for at, word in enumerate(["<|im_start|>", "<|im_end|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>", chat_template=template
    ).save_pretrained(folder)
    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[family]
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(
        kind(vocab_size=len(vocabulary), tie_word_embeddings=True, **sizes, **heads)
    )
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                value.add_(torch.randn_like(value) * 0.1)
        model.get_input_embeddings().weight.mul_(10)
    model.save_pretrained(folder)
    return folder


def rows(count: int) -> list[dict[str, str]]:
    """Return rows with a rule that can be learnt: the answer is the last word, twice."""
    words = ["red", "green", "blue", "grey", "pink"]
    return [
        {"prompt": f"say {'so ' * (at % 4)}{words[at % 5]}", "completion": f"{words[at % 5]} {words[at % 5]}!"}
        for at in range(count)
    ]
