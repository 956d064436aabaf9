"""Make the pictures of the console in `docs/images/`: `python docs/make_screenshots.py [--engine echo]`.

A throw-away factory is given one made-up day of records, so that the pictures show a factory at work; then its
gateway, engine and console run for real, with real requests, and Chromium looks at them. The agent on the pictures is
real, too, with its tools and approvals; what its model says is a script (`SAID`), so that its run is the same each time.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Browser, sync_playwright
from screenshots_agent import TASK, make_agent, scripted

from aigrid.core.clock import DAY, SECOND, now_ns
from aigrid.core.config import Config
from aigrid.core.ids import new_id
from aigrid.factory import ratings, run
from aigrid.factory.line import load as read_line
from aigrid.ledger import open_ledger
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Limits, Record
from aigrid.ledger.sqlite import connect
from aigrid.ledger.writer import insert_meter, insert_usage

IMAGES = Path(__file__).parent / "images"
USD = 1_000_000_000
CLIENTS = (
    ("acme-logistics", "warehouse-bot", Limits(month_nusd=25 * USD), 9),
    ("acme-logistics", "label-reader", Limits(), 4),
    ("night-shift", "reports", Limits(day_nusd=2 * USD, concurrency=8), 3),
    ("quality-lab", "defect-notes", Limits(total_nusd=3 * USD), 3),
    ("helpdesk", "answers", Limits(requests_per_minute=600), 2),
)
"""Tenant, name of its key, limits, share of the requests."""
MODELS = (("smollm2-135m-instruct", "local", 0, 7), ("qwen3-8b", "rack-2", 90, 3))
"""Model, site, what its upstream charges per completion token in nano-dollars, share of the requests."""
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update"]  # fmt: skip


async def make_keys() -> list[tuple[str, str, str]]:
    """Make the clients' keys; returns (tenant, key id, secret) of each."""
    ledger = open_ledger(Config(), owner=True)
    await ledger.open()
    made = [(tenant, *await ledger.create_key(tenant, name=name, limits=limits)) for tenant, name, limits, _ in CLIENTS]
    for tenant, key, _ in made:
        await ledger.audit("local", "keys.create", f"{key.id} tenant={tenant} scope=inference", "127.0.0.1")
    await ledger.set_tenant("night-shift", Limits(month_nusd=40 * USD))
    await ledger.close()
    return [(tenant, key.id, secret) for tenant, key, secret in made]


def busy(at_ns: int) -> float:
    """Return how busy the made-up factory is at a time, from 0 to 1: two shifts and a quiet night."""
    hour = at_ns / SECOND / 3600 % 24
    return 0.12 + 0.88 * math.exp(-(((hour - 10.5) / 3.2) ** 2)) + 0.6 * math.exp(-(((hour - 18.5) / 2.6) ** 2))


def made_up_day(keys: list[tuple[str, str, str]], chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield one day of records that ends now."""
    end = now_ns()
    at = end - DAY
    while at < end:
        at += int(SECOND * chance.expovariate(0.11 * busy(at)))
        tenant, key_id, _ = chance.choices(keys, [client[3] for client in CLIENTS])[0]
        model, site, upstream, _ = chance.choices(MODELS, [model[3] for model in MODELS])[0]
        prompt, completion = int(chance.lognormvariate(5.6, 0.8)), int(chance.lognormvariate(4.9, 0.7))
        energy_mj = int((0.02 * prompt + 0.09 * completion) * chance.uniform(800, 1200)) if not upstream else 0
        duration = int(SECOND * (0.15 + completion / chance.uniform(30, 40)))
        revenue = (prompt * 200 + completion * 800) if upstream else (prompt * 50 + completion * 200)
        yield msgspec.structs.astuple(
            Record(
                id=new_id("req_"), parent=None, tenant=tenant, key_id=key_id, model=model, site=site,
                tier=chance.choices(("fast", "think"), (5, 1))[0],
                outcome=chance.choices(("finished", "client_gone", "failed"), (96, 3, 1))[0], usage_source="counted",
                prompt_tokens=prompt, cached_tokens=0, completion_tokens=completion, reasoning_tokens=0,
                held_nusd=revenue * 3, revenue_nusd=revenue, upstream_nusd=completion * upstream,
                energy_mj=energy_mj, energy_nusd=energy_mj * 150 // 3600,
                hardware_nusd=duration * 20_000 // (3600 * SECOND) * (1 if upstream else 200),
                energy_source="upstream" if upstream else "estimate", first_token_ns=duration // 12,
                duration_ns=duration, created_ns=at - duration, settled_ns=at,
            )
        )  # fmt: skip


def idle_hours() -> Iterator[MeterRow]:
    """Yield what idling took in each hour of the day."""
    for hour in range(24):
        yield MeterRow(
            id=new_id("met_"), owner="local", at_ns=now_ns() - DAY + hour * 3600 * SECOND, interval_ns=3600 * SECOND,
            source="estimate", total_mj=21_600_000, idle_mj=21_600_000, total_energy_nusd=900_000,
            idle_energy_nusd=900_000, total_hardware_nusd=9_000_000, idle_hardware_nusd=9_000_000,
        )  # fmt: skip


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(url: str, *module: str, **settings: str) -> Iterator[None]:
    """Run a module until the block ends; enter when `url` answers."""
    child = subprocess.Popen([sys.executable, "-m", *module], env=os.environ | settings)
    try:
        until = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            if child.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{' '.join(module)} did not start")
            time.sleep(0.2)
        yield
    finally:
        child.terminate()
        child.wait(30)


def shoot_agents(browser: Browser, base: str) -> None:
    """Give the agent its task, and take the pictures of its run, the agents and what they remember."""
    page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
    page.goto(base + "/agents")
    page.get_by_role("textbox", name="Task").fill(TASK, timeout=60_000)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/agents/run/run_*", timeout=60_000)
    page.locator(".approval").wait_for(timeout=60_000)
    run = page.url.removeprefix(base)
    shoot(browser, base, "console-approval-phone", run, phone=True)
    page.get_by_role("textbox", name="Reason").fill("Goes on May's list.")
    page.get_by_role("button", name="Approve").click()
    page.locator(".result-panel").get_by_text("51 M8 bolts").wait_for(timeout=60_000)
    for name, path in (("run", run), ("agents", "/agents"), ("memory", "/agents/memory")):
        shoot(browser, base, f"console-{name}", path)
        shoot(browser, base, f"console-{name}-dark", path, dark=True)
        shoot(browser, base, f"console-{name}-phone", path, phone=True)


def make_line() -> None:
    """Build the flywheel's demo, rate its answers as its file says, and build it again."""
    demo = Path(__file__).resolve().parent.parent / "blueprints" / "flywheel-demo"
    run.build(read_line(demo))
    for line in (demo / "data" / "ratings.jsonl").read_text().splitlines():
        row = json.loads(line)
        ratings.give(ratings.Rating("help-desk", row["input"], correction=row["output"]), by="the demo")
    run.build(read_line(demo))


def shoot_lines(browser: Browser, base: str) -> None:
    """Take the pictures of the plant floor."""
    shoot(browser, base, "console-lines", "/lines")
    shoot(browser, base, "console-lines-dark", "/lines", dark=True)
    shoot(browser, base, "console-lines-phone", "/lines", phone=True)


def load(api: str, model: str, keys: list[tuple[str, str, str]], seconds: float) -> None:
    """Send real requests from every client for a while."""
    until = time.monotonic() + seconds

    def client(secret: str) -> None:
        while time.monotonic() < until:
            body = {"model": model, "max_tokens": 96, "messages": [{"role": "user", "content": "Name three tools."}]}
            headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
            request = urllib.request.Request(f"{api}/v1/chat/completions", json.dumps(body).encode(), headers)
            urllib.request.urlopen(request, timeout=120).read()
            time.sleep(0.5)

    with ThreadPoolExecutor() as pool:
        list(pool.map(client, [secret for _, _, secret in keys]))


def shoot(browser: Browser, base: str, name: str, path: str, *, dark: bool = False, phone: bool = False) -> None:
    """Take one picture."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 860},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if phone else 1,
    )
    page = context.new_page()
    page.goto(base + path)
    page.get_by_text("connected").wait_for(state="attached")
    page.wait_for_timeout(1500)
    if path == "/":
        page.get_by_role("button", name="24 h").click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(1500)
    if path == "/chat":
        page.get_by_label("Max tokens").fill("160")
        page.get_by_role("textbox", name="Your message").fill("How can a factory use less energy at night?")
        page.get_by_role("button", name="Send").click()
        page.locator(".receipt[data-request]").wait_for(timeout=120_000)
        page.mouse.move(0, 0)
        page.wait_for_timeout(600)
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="openvino", choices=("openvino", "echo"))
    parser.add_argument("--seconds", type=float, default=50, help="how long to send real requests first")
    parser.add_argument("--only", choices=("agents", "lines"), help="only these pictures, without the made-up load")
    args = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGRID_HOME"] = folder
        keys = asyncio.run(make_keys())
        with contextlib.closing(connect(Path(folder) / "ledger" / "ledger.db")) as database:
            database.execute("BEGIN")
            insert_usage(database, list(made_up_day(keys, random.Random(8470))))
            for row in idle_hours():
                insert_meter(database, row)
            database.execute("COMMIT")
        upstream = contextlib.ExitStack()
        make_agent(Path(folder), upstream.enter_context(scripted()))
        make_line()
        port, console = free_port(), free_port()
        api, base = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{console}"
        settings = {"AIGRID_GATEWAY_PORT": str(port), "AIGRID_ENGINE_KIND": args.engine, "AIGRID_SITE_ID": "local"}
        command = ("aigrid.console", "--gateway", api, "--port", str(console))
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        with (
            upstream,
            process(f"{api}/health/ready", "aigrid.cli.gateway", **settings),
            process(f"{base}/login", *command),
            sync_playwright() as playwright,
            ThreadPoolExecutor(1) as background,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
            model = "echo" if args.engine == "echo" else MODELS[0][0]
            if not args.only:
                work = background.submit(load, api, model, keys, args.seconds)
                time.sleep(args.seconds - 15)
                shoot(browser, base, "console-home", "/")
                shoot(browser, base, "console-home-dark", "/", dark=True)
                shoot(browser, base, "console-phone", "/", phone=True)
                work.result()
                shoot(browser, base, "console-ledger", "/ledger")
                shoot(browser, base, "console-keys", "/keys")
                shoot(browser, base, "console-chat", "/chat")
                shoot(browser, base, "console-chat-phone", "/chat", phone=True, dark=True)
            if args.only != "lines":
                shoot_agents(browser, base)
            if args.only != "agents":
                shoot_lines(browser, base)
            browser.close()


if __name__ == "__main__":
    main()
