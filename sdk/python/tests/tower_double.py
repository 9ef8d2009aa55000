"""A small tower for tests: it stores what is emitted once a sequence, and fails in the ways a tower can."""

import collections
import contextlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
if str(PACKAGE) not in sys.path:
    sys.path.insert(0, str(PACKAGE))

# No step of a test takes this long unless it hangs, in seconds.
PATIENCE = 20

RULE = {
    "name": "photo_error_spike",
    "readings": ["share: avg_over_time(photo.upload.ok[1m]) < 0.7", "per-second: rate(photo.upload.ok[1m]) < 0.7"],
    "reading": "share",
    "warnings": [],
    "changed": True,
}


class Tower:
    """Listens on 127.0.0.1; `faults` are what it does instead of the next answers: a status, or a name."""

    def __init__(self, port=0, faults=(), rule_answer=(200, RULE)):
        self.faults = collections.deque(faults)
        self.rule_answer = rule_answer
        self.changed = threading.Condition()
        self.bodies = []
        self.seen = []
        self.stored = {}
        self.slow = threading.Event()
        self._sockets = set()
        self._server = _Server(("127.0.0.1", port), self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """As a tower that is killed: all connections break."""
        self.slow.set()
        self._server.shutdown()
        self._server.server_close()
        self.break_connections()
        self._thread.join(PATIENCE)

    def break_connections(self):
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def totals(self):
        """Sum and count by name over all that was stored."""
        totals = {}
        for metric in self.metrics():
            total, count = totals.get(metric["name"], (0, 0))
            totals[metric["name"]] = (total + metric["sum"], count + metric["count"])
        return totals

    def metrics(self):
        return [metric for body in list(self.stored.values()) for metric in body["metrics"]]

    def wait_for(self, condition):
        with self.changed:
            if not self.changed.wait_for(condition, PATIENCE):
                raise AssertionError(f"did not come: {self.totals()}")

    def connections(self):
        """How many are open."""
        return len(self._sockets)

    def take(self, body):
        """Stores a batch unless it is there already."""
        key = (body["source"], body["sequence"])
        is_new = key not in self.stored
        self.stored.setdefault(key, body)
        return {"stored": len(body["metrics"]) if is_new else 0, "duplicate": not is_new, "refused": []}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address, tower):
        self.tower = tower
        super().__init__(address, _Door)

    def process_request(self, request, client_address):
        self.tower._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        super().shutdown_request(request)
        with self.tower.changed:
            self.tower._sockets.discard(request)
            self.tower.changed.notify_all()

    def handle_error(self, request, client_address):
        """Broken connections are what these tests are about."""


class _Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        tower = self.server.tower
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        with tower.changed:
            tower.bodies.append(raw)
            tower.seen.append((self.path, dict(self.headers)))
            fault = tower.faults.popleft() if tower.faults else None
            tower.changed.notify_all()
        if self.path != "/v1/emit":
            self.answer(*tower.rule_answer)
            return
        if fault == "slow":
            tower.slow.wait(PATIENCE)
        elif fault == "garbage":
            self.wfile.write(b"\x00\x15 no HTTP at all\r\n\r\n")
            self.close_connection = True
            return
        elif fault == "other":
            self.answer(200, "<html>a page</html>")
            return
        elif isinstance(fault, int):
            self.answer(fault, {"title": "No", "detail": "not like this", "status": fault})
            return
        with tower.changed:
            answer = tower.take(json.loads(raw))
            tower.changed.notify_all()
        if fault == "silent":
            # Stored, but the answer is lost.
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if isinstance(fault, dict):
            answer.update(fault)
        self.answer(200, answer)

    def answer(self, status, content):
        text = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        is_problem = status >= 400
        self.send_header("Content-Type", "application/problem+json" if is_problem else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def free_port():
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(port, **more):
    """A clean one, with the endpoint and server on `port`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    kept.update(PYTHONPATH=str(PACKAGE), PYTHONDONTWRITEBYTECODE="1", PYTHONWARNINGS="ignore::DeprecationWarning")
    kept.update(HMSOPS_ENDPOINT=f"127.0.0.1:{port}", HMSOPS_SERVER=f"http://127.0.0.1:{port}", **more)
    return kept


def start(program, port, **more):
    """Starts a program in an interpreter of its own."""
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(port, **more), stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run(program, port, **more):
    """Runs a program to its end; answers what it printed and said."""
    process = start(program, port, **more)
    return finish(process)


def finish(process, said=None):
    try:
        out, err = process.communicate(said, PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the program hangs: {out} {err}") from None
    if process.returncode != 0:
        raise AssertionError(f"the program failed with {process.returncode}: {out} {err}")
    return out, err
