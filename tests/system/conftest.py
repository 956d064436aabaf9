"""A real browser in front of a real console; each test module brings its own `gateway`."""

import json

import pytest
from playwright.sync_api import sync_playwright

from tests.system.browser import ARGS, CHROMIUM, free_port, process


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("factory")


@pytest.fixture(scope="module")
def console(home, gateway):
    port = free_port()
    command = ("aigrid.console", "--gateway", f"http://127.0.0.1:{gateway}", "--port", str(port))
    with process(home, *command, ready=(port, "/login")) as log:
        yield port
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS, timeout=180_000)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def profile(chromium):
    """Return the profile with these options, made at its first use; a `fresh` one has no cookies and no cache."""
    made = {}

    def get(fresh=False, **options):
        key = len(made) if fresh else json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
            made[key].set_default_timeout(60_000)
        return made[key]

    return get


@pytest.fixture
def visit(profile, console):
    """Open pages; fails the test on any console error or request that leaves this machine."""
    troubles, pages = [], []

    def opened(path="/", port=None, **options):
        page = profile(**options).new_page()
        pages.append(page)
        base = f"http://127.0.0.1:{port or console}"
        page.on("console", lambda line: troubles.append(f"{line.text} {line.location}") if line.type == "error" else 0)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda sent: sent.url.startswith((base, "data:", "blob:")) or troubles.append(sent.url))
        page.goto(base + path)
        return page

    yield opened
    for page in pages:
        page.close()
    assert troubles == []
