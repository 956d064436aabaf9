"""A TCP proxy that cuts connections, as bad networks do."""

import socket
import threading


class Cutting:
    """Passes on what goes to and from `target` (HOST:PORT); cuts a connection after the bytes that `cuts` says next.

    A cut is a pair (bytes sent to the target or None, bytes sent back or None); without more of them nothing is cut.
    After `holds_at` bytes sent back it passes on nothing more until it is closed.
    """

    def __init__(self, target, cuts, holds_at=None):
        host, port = target.split(":")
        self.target = (host, int(port))
        self.cuts = list(cuts)
        self.lock = threading.Lock()
        self.came = self.went = 0
        self.holds_at = holds_at
        self.closed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for source, sink, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, sink, up), daemon=True).start()

    def _pass(self, source, sink, up):
        try:
            while data := source.recv(65536):
                with self.lock:
                    if up:
                        self.went += len(data)
                    else:
                        self.came += len(data)
                    limit = self.cuts[0][0 if up else 1] if self.cuts else None
                    if limit is not None and (self.went if up else self.came) >= limit:
                        self.cuts.pop(0)
                        break
                sink.sendall(data)
                if not up and self.holds_at is not None and self.came >= self.holds_at:
                    self.closed.wait()
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.closed.set()
        self.listener.close()
