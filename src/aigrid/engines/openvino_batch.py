"""The running requests of the embedded engine: starts them, reads each step's tokens, and finishes them.

A request with several choices runs as that many sequences: the pipeline's own way of drawing several cannot stream
and shares one grammar state among them. The first choice goes ahead by one token, so that the others find the
prompt in the prefix cache; so do other requests with the same prompt that come before it is read. Each choice has its
own seed, counted up from the request's. A constrained call that is about to run out of tokens goes on as a new
sequence, whose grammar is the call's shortest end.
"""

import contextlib
import secrets
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from aigrid.core.errors import AigridError, BadRequest, UpstreamError
from aigrid.engines.base import Chunk, Delta, GenerateRequest, TokenLogprob, Usage
from aigrid.engines.openvino_grammar import GrammarCheck, constraint, uses_tools
from aigrid.engines.openvino_load import Loaded, logits_width
from aigrid.engines.openvino_patience import Choice, Job, Patience
from aigrid.engines.openvino_prompt import render
from aigrid.engines.openvino_rest import ending
from aigrid.engines.openvino_text import THINK_BEGIN, Scanner, Vocabulary

_TEMPERATURE, _TOP_P = 0.2, 0.9
"""What is drawn with when neither the request nor the model says; small models ramble at 1.0."""

_RUNNING = genai.GenerationStatus.RUNNING
_NONE = genai.GenerationFinishReason.NONE.value
_LENGTH = genai.GenerationFinishReason.LENGTH.value  # comparing numbers is several times faster
_NO_MEMORY = "the engine's key-value cache is full; send fewer or shorter requests at once, or raise engine.cache_gb"


def _one_token(defaults: Any) -> Any:
    """Return settings for reading a piece of a prompt into the prefix cache: a token comes with it, for nobody."""
    settings = genai.GenerationConfig()
    settings.max_new_tokens = 1
    settings.eos_token_id = defaults.eos_token_id
    return settings


_REPORTED = 100_000
_SEEDS = 1 << 31


class Batch:
    """All requests: at most `slots` sequences run, the others wait in order.

    `key` is the caller's name for a request and comes back with its chunks.
    """

    def __init__(self, loaded: Loaded, slots: int = 64) -> None:
        self.slots = slots
        self.tokens = 0  # made since the start
        self.pipeline = loaded.pipeline
        self.context = loaded.context
        self.tokenizer = loaded.pipeline.get_tokenizer()
        self.vocabulary = Vocabulary(self.tokenizer)
        self.defaults = loaded.pipeline.get_config()
        self._own_defaults = (loaded.folder / "generation_config.json").exists()
        self._thinks = THINK_BEGIN in (self.tokenizer.chat_template or "")
        self._folder: Path = loaded.folder
        self._grammars: GrammarCheck | None = None
        self._jobs: dict[Any, Job] = {}
        self._running: list[Choice] = []
        self._queue: deque[tuple[Job, int]] = deque()
        self._reading: dict[Any, Job] = {}
        self._patience = Patience()
        self._made: OrderedDict[str, list[int]] = OrderedDict()
        self._next = 0

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._queue or self._patience.waits) or self.pipeline.has_non_finished_requests()

    @property
    def counts(self) -> tuple[int, int]:
        """How many sequences run, and how many wait."""
        return len(self._running), len(self._queue) + len(self._patience.queue) + len(self._patience.aside)

    def prompt(self, request: GenerateRequest) -> list[int]:
        """Return the prompt's tokens; raises `BadRequest` for what cannot be a prompt of this model."""
        if isinstance(request.prompt, list):
            bad = next((token for token in request.prompt if not 0 <= token < self._width()), None)
            if bad is not None:
                raise BadRequest(f"prompt holds the token {bad}, which this model does not have", param="prompt")
            ids = request.prompt
        else:
            tools = request.tools if uses_tools(request) else []
            text = request.prompt if request.prompt is not None else self._chat(request, tools)
            ids = [int(i) for i in self.tokenizer.encode(text, add_special_tokens=request.messages is None)
                   .input_ids.data[0]] if text else []  # fmt: skip
        if not ids:
            raise BadRequest("the prompt is empty: send at least one token", param="prompt")
        return ids

    def _chat(self, request: GenerateRequest, tools: list[dict[str, Any]]) -> str:
        return render(self.tokenizer, request.messages or [], tools)

    def _width(self) -> int:
        return len(self.vocabulary.pieces) if self.vocabulary.pieces else logits_width(self._folder)

    def start(self, key: Any, request: GenerateRequest) -> None:
        """Begin a request; raises `BadRequest` for what this engine or model cannot do."""
        ids = self.prompt(request)
        field = "messages" if request.messages is not None else "prompt"
        if len(ids) >= self.context:
            raise BadRequest(
                f"the prompt has {len(ids):,} tokens or more; this model takes {self.context:,}, of which at least one "
                "is for the answer: shorten it",
                param=field,
                code="context_length_exceeded",
            )
        sampling = request.sampling
        if sampling.top_logprobs > 1 or (sampling.top_logprobs and (sampling.temperature or 0) > 0):
            raise BadRequest(
                "this engine knows the log-probability of the chosen token only: leave top_logprobs out",
                param="top_logprobs",
            )
        grammar = constraint(request)
        if grammar is not None:
            if self._grammars is None:
                self._grammars = GrammarCheck(self.tokenizer, logits_width(self._folder))
            self._grammars.check(*grammar, param="tools" if uses_tools(request) else "response_format")
        made = [0]
        job = Job(key, request, ids, grammar[1] if grammar else None, made)
        self._jobs[key] = job
        ahead = self._reading.setdefault(job.alike, job)
        (self._line(job) if ahead is job else ahead.behind).append((job, 0))
        self._made[request.id] = made
        if len(self._made) > _REPORTED:
            self._made.popitem(last=False)

    def _line(self, job: Job) -> deque[tuple[Job, int]]:
        """Return the queue in which a job's sequences wait."""
        return self._patience.queue if job.request.patient else self._queue

    def _admit(self, results: dict[Any, Chunk | AigridError]) -> None:
        """Start sequences that wait, as long as there is room: patient ones last, and only what they leave free."""
        self._patience.look(self._running, self._queue, self.slots)
        self._running = [choice for choice in self._running if choice.handle is not None]
        while self._queue and len(self._running) < self.slots:
            self._try(*self._queue.popleft(), results)
        while (found := self._patience.next(self._running, self.slots)) is not None:
            if isinstance(found, Choice):
                self._resume(found)
            elif (piece := self._patience.piece(found[0])) is not None:
                self._patience.warming(found, piece, self._add(found[0].ids[:piece], _one_token(self.defaults)))
            else:
                self._try(*found, results)

    def _try(self, job: Job, index: int, results: dict[Any, Chunk | AigridError]) -> None:
        try:
            self._begin(job, index)
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            reason = lines[-1] if lines else "no reason given"
            results[job.key] = BadRequest(f"the engine refuses this request: {reason}")
            self.cancel(job.key)

    def _resume(self, choice: Choice) -> None:
        """Go on with a sequence that was put aside: what it had is in the prefix cache, or is read again."""
        job, made = choice.job, len(choice.tokens)
        settings = self._settings(job, choice.index)
        settings.max_new_tokens -= made
        settings.rng_seed = (settings.rng_seed + made) % _SEEDS
        choice.handle = self._add(job.ids + choice.tokens, settings)
        self._running.append(choice)

    def _begin(self, job: Job, index: int) -> None:
        request = job.request
        handle = self._add(job.ids, self._settings(job, index))
        chat = request.messages is not None
        scanner = Scanner(request.stop, tools=uses_tools(request), think=chat and self._thinks)
        choice = Choice(job, index, handle, self.vocabulary.stream(), scanner)
        job.choices.append(choice)
        self._running.append(choice)

    def _add(self, ids: list[int], settings: Any) -> Any:
        self._next += 1
        return self.pipeline.add_request(self._next, ov.Tensor(np.array([ids], dtype=np.int64)), settings)

    def _end_call(self, choice: Choice) -> None:
        """Let a constrained call that hardly has tokens left go on with nothing but its shortest end."""
        job = choice.job
        settings = self._settings(job, choice.index)
        left = settings.max_new_tokens - len(choice.tokens)
        call = choice.scanner.call
        grammar = ending(job.request, *call, left) if call else None
        if grammar is None or self._grammars is None:
            return
        choice.calls = False
        config = genai.StructuredOutputConfig(grammar=grammar)
        with contextlib.suppress(BadRequest):  # what XGrammar refuses ends as it would have
            self._grammars.check(f"end {grammar}", config, "tools")
            settings.max_new_tokens = left
            settings.structured_output_config = config
            choice.handle = self._add(job.ids + choice.tokens, settings)

    def _settings(self, job: Job, index: int) -> Any:
        request, sampling = job.request, job.request.sampling
        settings = genai.GenerationConfig()
        settings.max_new_tokens = min(request.max_tokens, self.context - len(job.ids))
        settings.eos_token_id = self.defaults.eos_token_id
        settings.stop_token_ids = self.defaults.stop_token_ids
        own = self.defaults if self._own_defaults else None
        temperature = sampling.temperature
        if temperature is None:
            temperature = (own.temperature if own.do_sample else 0.0) if own else _TEMPERATURE
        if temperature > 0:
            settings.do_sample = True
            settings.temperature = temperature
            top_p = sampling.top_p if sampling.top_p is not None else own.top_p if own else _TOP_P
            settings.top_p = max(top_p, 1e-6)
            top_k = sampling.top_k if sampling.top_k is not None else own.top_k if own else 0
            if top_k > 0:
                settings.top_k = top_k
            if sampling.min_p:
                settings.min_p = sampling.min_p
            seed = sampling.seed if sampling.seed is not None else secrets.randbelow(_SEEDS)
            settings.rng_seed = (seed + index) % _SEEDS
        if sampling.frequency_penalty:
            settings.frequency_penalty = sampling.frequency_penalty
        if sampling.presence_penalty:
            settings.presence_penalty = sampling.presence_penalty
        if sampling.repetition_penalty:
            settings.repetition_penalty = sampling.repetition_penalty
        settings.logprobs = int(sampling.logprobs)
        if job.grammar is not None:
            settings.structured_output_config = job.grammar
        return settings

    def step(self) -> list[tuple[Any, Chunk | AigridError, bool]]:
        """Run the model once; return what came of it by key, and whether that was the last for this key.

        A job's first chunk tells its prompt's tokens, its last one tells all.
        """
        results: dict[Any, Chunk | AigridError] = {}
        self._admit(results)
        if self.pipeline.has_non_finished_requests():
            self.pipeline.step()
        ended = False
        for choice in list(self._running):
            handle = choice.handle
            if handle is None:
                continue
            job = choice.job
            if handle.can_read():
                delta = self._read(choice, next(iter(handle.read().values())))
            elif handle.get_status() == _RUNNING:
                continue
            else:
                results[job.key] = UpstreamError(_NO_MEMORY, code="engine_out_of_memory")
                self.cancel(job.key)
                continue
            chunk = results.get(job.key)
            if isinstance(chunk, Chunk):
                chunk.deltas.append(delta)
            else:
                results[job.key] = Chunk(deltas=[delta])
            ended = ended or delta.finish_reason is not None
            if not job.read:
                self._follow(job)
        if ended:
            self._running = [choice for choice in self._running if choice.handle is not None]
        answers: list[tuple[Any, Chunk | AigridError, bool]] = []
        for key, result in results.items():
            known = self._jobs.get(key)
            if known is None or not isinstance(result, Chunk):
                answers.append((key, result, True))
                continue
            last = not known.pending
            if known.patient:  # nobody reads along: one message at the end leaves the gateway's time to others
                known.held += result.deltas
                if not last:
                    continue
                result.deltas = known.held
            if last or not known.told:
                result.usage = Usage(len(known.ids), known.made[0], known.reasoning)
                known.told = True
            if last:
                del self._jobs[key]
            answers.append((key, result, last))
        return answers

    def _follow(self, job: Job) -> None:
        """Let the sequences that waited for a job's prompt be next: it is in the prefix cache now."""
        job.read = True
        if self._reading.get(job.alike) is job:
            del self._reading[job.alike]
        self._line(job).extendleft(entry for entry in reversed(job.behind) if entry[0].key in self._jobs)
        job.behind = []

    def _read(self, choice: Choice, output: Any) -> Delta:
        """Return what one sequence gained in a step; takes its handle away when it has ended."""
        job, scanner = choice.job, choice.scanner
        tokens: list[int] = output.generated_ids
        count = len(tokens)
        job.made[0] += count
        self.tokens += count
        reason = output.finish_reason.value
        over = reason != _NONE
        text = choice.stream.push(tokens)
        if over:
            text += choice.stream.finish()
        if scanner.plain:
            delta = Delta(index=choice.index, text=text, tokens=count)
        else:
            thinking = scanner.thinking
            piece = scanner.push(text, last=over)
            over = over or piece.stop is not None
            delta = Delta(
                choice.index, piece.text, piece.reasoning, count, tool_calls=piece.calls or None, stop=piece.stop
            )
            if thinking or piece.reasoning:
                delta.reasoning_tokens = count
                job.reasoning += count
        if choice.logprobs:
            named = zip(tokens, output.generated_log_probs, strict=True)
            delta.logprobs = [self._logprob(job, token, value) for token, value in named]
        if over:
            length = reason == _LENGTH and delta.stop is None
            delta.finish_reason = "length" if length else "tool_calls" if scanner.called else "stop"
            job.pending -= 1
            choice.handle = None  # dropping it frees its place in the batch
        elif choice.calls or job.patient:
            choice.tokens += tokens
            if choice.calls:
                self._end_call(choice)
        return delta

    def _logprob(self, job: Job, token: int, value: float) -> TokenLogprob:
        text = self.vocabulary.text(token)
        return TokenLogprob(text, value, [(text, value)] if job.request.sampling.top_logprobs else [])

    def cancel(self, key: Any) -> None:
        """Stop working on a request; one that is not running is no error."""
        job = self._jobs.pop(key, None)
        if job is None:
            return
        for choice in job.choices:
            choice.handle = None
        self._running = [choice for choice in self._running if choice.handle is not None]
        self._queue = deque(entry for entry in self._queue if entry[0] is not job)
        if self._reading.get(job.alike) is job:  # the next one reads the prompt
            del self._reading[job.alike]
            others = [entry for entry in job.behind if entry[0].key in self._jobs]
            if others:
                heir = self._reading[job.alike] = others[0][0]
                heir.behind += others[1:]
                self._line(heir).appendleft(others[0])
        self._patience.forget(job)

    def made(self, ids: list[str]) -> dict[str, int]:
        """Return how many tokens were made for requests, by their ids; those not remembered are left out."""
        return {id: self._made[id][0] for id in ids if id in self._made}
