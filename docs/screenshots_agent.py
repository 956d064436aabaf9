"""The agent on the pictures of the console: its file, its tools, what it has learnt, and the script of its model."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aigrid.agents.memory import Memories

AGENT = """
name: storekeeper
about: Keeps the store room filled; asks before it orders much.
instructions: Look up what is left of a part before you order it. Say what you did and why.
model: planner-32b
memory: {share: tenant}
tools:
  stock: {kind: python, function: store.stock, safe_to_retry: true}
  order: {kind: python, function: store.order, approve_unless: {amount: {maximum: 20}}}
budget: {steps: 9, usd: 0.05}
"""
TOOLS = '''
def stock(part: str) -> dict:
    """Look up how many of a part are left, by shelf."""
    rows = [["A3", part, 7, 40], ["C1", part, 2, 20]]
    return {"columns": ["shelf", "part", "left", "least"], "rows": rows, "more": False}

def order(part: str, amount: int) -> str:
    """Order parts."""
    return f"ordered {amount} of {part}"
'''
TASK = "Shelf C1 looks empty: check the M8 bolts and fill up what is below its least."
SAID: tuple[dict[str, Any] | str, ...] = (
    {"stock": {"part": "M8 bolt"}},
    {"order": {"part": "M8 bolt", "amount": 51}},
    "Both shelves were below their least: 33 short on A3 and 18 on C1. I ordered **51 M8 bolts**.",
)
LEARNT = (
    ("acme-logistics", "M8 bolts come in boxes of 100; the supplier takes back unopened ones", "M8 bolts", ""),
    ("acme-logistics", "Ines wants orders above 200 dollars on the monthly list", "orders", "ines"),
    ("acme-logistics", "Shelf C1 is emptied on the first Monday of each month", "shelf C1", ""),
    ("quality-lab", "Report defects in millimetres, never in inches", "reports", ""),
    ("night-shift", "The night shift counts stock at 02:00", "stock", "omar"),
)
"""Tenant, what the agent has learnt for it, about what, about which user."""


@contextlib.contextmanager
def scripted() -> Iterator[str]:
    """Serve the model that says `SAID`, step by step; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._send("application/json", json.dumps({"object": "list", "data": [{"id": "planner-32b"}]}))

        def do_POST(self) -> None:
            messages = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
            said = SAID[min(sum(each["role"] == "assistant" for each in messages), len(SAID) - 1)]
            calls = [] if isinstance(said, str) else [
                {"index": 0, "id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
                for name, given in said.items()
            ]  # fmt: skip
            delta = {"content": said} if isinstance(said, str) else {"tool_calls": calls}
            usage = {"prompt_tokens": 240 + 90 * len(messages), "completion_tokens": 38 + len(str(said)) // 4}
            frames: tuple[dict[str, Any], ...] = (
                {"choices": [{"index": 0, "delta": delta}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]},
                {"choices": [], "usage": {**usage, "total_tokens": sum(usage.values())}},
            )
            time.sleep(0.6)
            lines = [f"data: {json.dumps(frame)}\n\n" for frame in frames]
            self._send("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))

        def _send(self, kind: str, text: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_agent(folder: Path, upstream: str) -> None:
    """Write the agent, its tools, what it has learnt, and where its model is."""
    (folder / "agents").mkdir()
    (folder / "agents" / "storekeeper.yaml").write_text(AGENT)
    (folder / "agents" / "store.py").write_text(TOOLS)
    (folder / "aigrid.toml").write_text(f'[[upstreams]]\nname = "rack-2"\nurl = "{upstream}"\n')
    for number, (tenant, text, about, user) in enumerate(LEARNT):
        Memories(tenant, "storekeeper").remember(text, about, user, origin=f"run_01a2{number}")
