"""Make the pictures of the console's radio page: `python docs/screenshots_radio.py [--seconds 75]`.

A real factory with its engine, a real radio that is harvested, real requests; nothing is made up. What the pictures
show depends on the machine, and on what else runs there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from make_screenshots import ARGS, IMAGES, free_port, process, shoot
from playwright.sync_api import sync_playwright

STREAMS = 48
MODEL = "smollm2-135m-instruct"


def ask(api: str, key: str, over: threading.Event) -> None:
    """Keep the engine busy until it is over."""

    def client(number: int) -> None:
        head = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        while not over.is_set():
            asked = [{"role": "user", "content": f"Tell me a story about the number {number}."}]
            body = {"model": MODEL, "max_tokens": 64 + number, "messages": asked}
            request = urllib.request.Request(f"{api}/v1/chat/completions", json.dumps(body).encode(), head)
            try:
                urllib.request.urlopen(request, timeout=120).read()
            except urllib.error.HTTPError as error:  # the gateway is full, or the radio needs the machine
                print(error.read().decode(), file=sys.stderr)
                time.sleep(2.0)

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(client, range(STREAMS)))


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=75, help="how long to harvest first")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGRID_HOME"] = folder
        port, console = free_port(), free_port()
        api, base = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{console}"
        settings = {"AIGRID_GATEWAY_PORT": str(port), "AIGRID_GATEWAY_MAX_RUNNING": "256"}
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        made = [sys.executable, "-m", "aigrid.cli", "keys", "create", "--tenant", "acme-logistics", "--json"]
        over = threading.Event()
        with (
            process(f"{api}/health/ready", "aigrid.cli.gateway", **settings),
            process(f"{base}/login", "aigrid.console", "--gateway", api, "--port", str(console)),
            sync_playwright() as playwright,
            ThreadPoolExecutor(1) as background,
        ):
            key = json.loads(subprocess.check_output(made, text=True))["key"]
            work = background.submit(ask, api, key, over)
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
            shoot(browser, base, "console-radio-none", "/radio")
            radio = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "aigrid.cli",
                    "ran",
                    "run",
                    "--harvest",
                    "--cpu",
                    "1",
                    "--seconds",
                    "600",
                    "--json",
                ],
                stdout=sys.stderr,
            )
            try:
                time.sleep(args.seconds)
                shoot(browser, base, "console-radio", "/radio")
                shoot(browser, base, "console-radio-dark", "/radio", dark=True)
                shoot(browser, base, "console-radio-phone", "/radio", phone=True)
            finally:
                radio.terminate()
                radio.wait(30)
                over.set()
            work.result()
            browser.close()
    (IMAGES / "console-radio-none.png").unlink()


if __name__ == "__main__":
    main()
