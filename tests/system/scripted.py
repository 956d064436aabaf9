"""An OpenAI server whose model follows a script, for agents behind a real gateway; any step can be held back."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model:
    """What the model says: for a task that holds `word`, the steps of `scripts[word]`, one after another.

    A step is a text or a list of (tool, arguments). A step whose text begins with `[hold]` stops after its first
    words until `go` is set.
    """

    def __init__(self, scripts, pace_s=0.0):
        self.scripts = scripts
        self.pace_s = pace_s
        self.go = threading.Event()

    def step(self, messages):
        """Return what is said next in this conversation."""
        task = next(each["content"] for each in messages if each["role"] == "user")
        script = next(script for word, script in self.scripts.items() if word in task)
        return script[min(sum(each["role"] == "assistant" for each in messages), len(script) - 1)]

    def deltas(self, messages):
        """Yield a step piece by piece."""
        said = self.step(messages)
        if isinstance(said, str):
            held = said.startswith("[hold]")
            for at, word in enumerate(said.removeprefix("[hold]").split(" ")):
                if held and at == 3:
                    self.go.wait(300)
                yield {"content": word if at == 0 else f" {word}"}
            return
        for at, (tool, arguments) in enumerate(said):
            function = {"name": tool, "arguments": json.dumps(arguments)}
            yield {"tool_calls": [{"index": at, "id": f"c{at}", "type": "function", "function": function}]}


@contextlib.contextmanager
def model_server(model, name="scripted"):
    """Serve a model until the block ends; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self._send("application/json", json.dumps({"object": "list", "data": [{"id": name}]}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.endswith("/chat/completions"):
                self.send_error(404)
                return
            messages = body["messages"]
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for delta in model.deltas(messages):
                time.sleep(model.pace_s)
                self._event({"choices": [{"index": 0, "delta": delta}]})
            finish = "stop" if isinstance(model.step(messages), str) else "tool_calls"
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def _event(self, value):
            self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
            self.wfile.flush()

        def _send(self, kind, data):
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        model.go.set()
        server.shutdown()
        server.server_close()
