"""A very small Llama with a tokenizer of bytes, as a Hugging Face folder: trains in seconds."""

from pathlib import Path


def make(folder: Path, family: str = "llama") -> Path:
    """Write the model into `folder` and return it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: at for at, word in enumerate(["<|im_start|>", "<|im_end|>", *alphabet, "Ġa"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "a")]))
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


def make_gguf(folder: Path, target: Path, kind: str = "Q8_0") -> Path:
    """Write a Hugging Face folder of `make` as the GGUF file `target`, as llama.cpp's converter does."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer

    weights = load_file(folder / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(4)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(160)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(7)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([word for word, _ in vocabulary])
    writer.add_token_types([3 if at < 2 else 1 for at in range(len(vocabulary))])
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 4)
    for name, value in weights.items():
        short = names.get_name(name.removesuffix(".weight")) + ".weight"
        if "attn_q." in short or "attn_k." in short:  # as LlamaModel.permute of convert_hf_to_gguf.py
            heads = 4 if "attn_q." in short else 2
            halves = value.reshape(heads, 2, value.shape[0] // heads // 2, value.shape[1])
            value = halves.swapaxes(1, 2).reshape(value.shape)
        stored = gguf.GGMLQuantizationType.F32 if value.ndim == 1 else gguf.GGMLQuantizationType[kind]
        packed = gguf.quantize(np.ascontiguousarray(value, dtype=np.float32), stored)
        writer.add_tensor(short, packed, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
