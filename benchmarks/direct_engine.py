"""`openvino-genai` driven directly, as a program of its own: the peer of the embedded engine behind the gateway.

Reads lines `STREAMS TOKENS ROUND` on stdin; for each makes so many greedy answers at once with `add_request` and
`step`, and prints the tokens made and the seconds taken. Nothing is detokenised, streamed or counted for anyone.
"""

import sys
import time

import openvino_genai as genai

from aigrid.core.config import Config
from aigrid.core.models import pull, resolve
from aigrid.engines.openvino_load import load


def prompts(streams: int, turn: int) -> list[str]:
    """Return the questions of one round, each different, so that no answer is another's cached prefix."""
    return [f"Tell me a long story about the number {turn * 100 + at}." for at in range(streams)]


def main(model_id: str) -> None:
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = 64
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = 2
    pipeline = load(pull(resolve(model_id, Config())), "CPU", {}, scheduler).pipeline
    tokenizer = pipeline.get_tokenizer()
    print("ready", flush=True)
    for line in sys.stdin:
        streams, tokens, turn = map(int, line.split())
        settings = genai.GenerationConfig()
        settings.max_new_tokens = tokens
        settings.ignore_eos = False
        settings.do_sample = False
        settings.eos_token_id = tokenizer.get_eos_token_id()
        start = time.perf_counter()
        handles = []
        for at, text in enumerate(prompts(streams, turn)):
            prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
            ids = tokenizer.encode(prompt, add_special_tokens=False).input_ids
            handles.append(pipeline.add_request(turn * 1000 + at, ids, settings))
        made = 0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for handle in handles:
                if handle.can_read():
                    made += sum(len(output.generated_ids) for output in handle.read().values())
        print(made, time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
