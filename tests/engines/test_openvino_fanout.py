"""Candidates of one prompt in the embedded engine: read once, made together, gone at once when nobody wants them."""

import itertools

import openvino_genai as genai
import pytest

from aigrid.core import models
from aigrid.core.config import Config
from aigrid.engines.base import Chunk, GenerateRequest, Grammar, Sampling
from aigrid.engines.openvino_batch import Batch
from aigrid.engines.openvino_load import load

pytestmark = pytest.mark.xdist_group("engine")
N = 8
NUMBERS = itertools.count(10**9)


@pytest.fixture(scope="module")
def batch():
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = 64
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = 1
    return Batch(load(models.pull(models.resolve("smollm2-135m-instruct", Config())), "CPU", {}, scheduler))


def ask(id, n=1, max_tokens=6, seed=1, **more):
    """A request whose prompt of some 500 tokens nobody has sent before this test."""
    text = more.pop("text", None) or f"{next(NUMBERS)} " + "the sea is deep and " * 95
    sampling = Sampling(temperature=1.0, seed=seed)
    return GenerateRequest(id, "small", max_tokens, prompt=text, n=n, sampling=sampling, **more)


def finish(batch, *requests):
    """Run requests to their end; return steps taken, texts by (id, choice), and the last usage by id."""
    for request in requests:
        batch.start(request.id, request)
    steps, texts, usages = 0, {}, {}
    while batch.busy:
        steps += 1
        for key, chunk, _ in batch.step():
            assert isinstance(chunk, Chunk), chunk
            usages[key] = chunk.usage or usages.get(key)
            for delta in chunk.deltas:
                texts[key, delta.index] = texts.get((key, delta.index), "") + delta.text
    return steps, texts, usages


def test_candidates_read_their_prompt_once(batch):
    alone, _, _ = finish(batch, ask("one"))
    together, texts, usages = finish(batch, ask("many", n=N))
    assert together <= alone + 2, "as many more steps as it takes to read a prompt again would show"
    assert len(set(texts.values())) > 1
    assert 400 < usages["many"].prompt_tokens < 600
    assert usages["many"].completion_tokens <= N * 6


def test_requests_that_come_together_with_one_prompt_read_it_once(batch):
    alone, _, _ = finish(batch, ask("one"))
    text = ask("x").prompt
    same, texts, usages = finish(batch, *(ask(f"r{at}", text=text, seed=at) for at in range(N)))
    different, _, _ = finish(batch, *(ask(f"d{at}") for at in range(N)))
    assert same <= alone + 2
    assert different > same + N / 2
    assert len(texts) == N
    assert {usage.prompt_tokens for usage in usages.values()} == {len(batch.prompt(ask("x", text=text)))}


def test_each_candidate_has_a_seed_of_its_own_and_the_first_has_the_requests(batch):
    text = "Name a colour."
    _, one, _ = finish(batch, ask("one", seed=40, text=text))
    _, many, _ = finish(batch, ask("n", n=4, seed=40, text=text))
    assert many["n", 0] == one["one", 0]  # the others agree from run to run as far as rounding in a batch allows
    assert len(set(many.values())) > 1


def test_each_candidate_has_its_own_stop_and_its_own_grammar(batch):
    _, texts, _ = finish(batch, ask("g", n=4, max_tokens=20, grammar=Grammar("regex", "[0-9]{3}-[a-f]{2}")))
    assert len(texts) == 4
    assert all(len(text) == 6 and text[3] == "-" for text in texts.values())
    _, texts, _ = finish(batch, ask("s", n=4, max_tokens=20, grammar=Grammar("regex", "[0-9]{3}-[a-f]{2}"), stop=["-"]))
    assert all(text.isdigit() and len(text) == 3 for text in texts.values())


def test_cancelled_candidates_are_gone_with_the_next_step(batch):
    batch.start("long", ask("long", n=N, max_tokens=400))
    for _ in range(8):
        batch.step()
    made = batch.made(["long"])["long"]
    assert made > N
    batch.cancel("long")
    batch.step()
    assert not batch.busy
    assert batch.made(["long"])["long"] == made


def test_who_waits_for_the_prompt_of_a_cancelled_request_reads_it_itself(batch):
    text = ask("x").prompt
    for at in range(4):
        batch.start(f"r{at}", ask(f"r{at}", text=text, n=2))
    batch.cancel("r2")
    batch.step()
    batch.cancel("r0")
    _, texts, _ = finish(batch)
    assert sorted(texts) == [("r1", 0), ("r1", 1), ("r3", 0), ("r3", 1)]
