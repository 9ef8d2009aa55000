#!/usr/bin/env python3
"""The CSAC portal: a small site where citizens hand in ideas for stamps.

It is the service that the lab releases, breaks and takes back. One source serves every version; the file
`build.json` beside it says which version this build is, and what is wrong with it:

    {"version": "1.8.0", "build": 1, "fault": "login", "after": "first-login"}

fault   none          nothing
        dead          the process exits
        hang          connections are accepted and never answered, the health probe's too
        probe         the health probe and log-ins answer 500
        errors        every answer to a user is 500, the health probe stays green
        login         log-ins answer 500, and the health probe turns 500
        five-percent  one user answer in twenty is 500, the health probe stays green
        never-ready   the health probe answers 500 from the start
        exit-at-once  the process exits before it listens
after   first-request | first-login | N ms | N requests
        When the fault begins, counted from the first request of a user, so that a bad build passes its
        first probes, as real ones do. A user is whoever asks for anything but the health path and does not
        call itself `hmsops-probe`.

With `$METRICS_PORT` it counts failed log-ins there as `auth_fail_total`, in the text that Prometheus reads: with
the chapter's `metrics.py` where prometheus_client is installed, with a few lines of its own where it is not.

Python 3.9; the standard library is enough.
"""

import argparse
import json
import os
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

# The folder's digest is pinned: nothing is written into it.
sys.dont_write_bytecode = True

FAULTS = (
    "none",
    "dead",
    "hang",
    "probe",
    "errors",
    "login",
    "five-percent",
    "never-ready",
    "exit-at-once",
)
HEALTH_PATH = "/api/v1/health"
PROBE_AGENT = "hmsops-probe"
# A log-in form is short; anything longer is not one.
BODY_BYTES_MAX = 64 * 1024
IDEAS = [
    {"id": 1, "title": "Lighthouses of the Great Lakes", "votes": 412},
    {"id": 2, "title": "Women of the Apollo program", "votes": 987},
    {"id": 3, "title": "National park night skies", "votes": 655},
]


class Build:
    """What `build.json` says."""

    def __init__(self, text):
        said = json.loads(text)
        unknown = sorted(set(said) - {"version", "build", "fault", "after"})
        if unknown:
            raise ValueError("unknown key `%s`" % unknown[0])
        self.version = str(said["version"])
        self.fault = said.get("fault", "none")
        if self.fault not in FAULTS:
            raise ValueError("unknown fault `%s`, expected one of %s" % (self.fault, ", ".join(FAULTS)))
        after = said.get("after", "first-request")
        self.after_login = after == "first-login"
        self.after_requests, self.after_seconds = parse_after(after)


def parse_after(text):
    """`first-request`, `first-login`, `300 ms` or `40 requests` as (requests, seconds)."""
    if text in ("first-request", "first-login"):
        return 1, 0.0
    found = re.fullmatch(r"(\d{1,9}) (ms|requests)", text)
    if not found:
        raise ValueError("`after: %s` is not `first-request`, `first-login`, `N ms` or `N requests`" % text)
    number = int(found.group(1))
    return (1, number / 1000) if found.group(2) == "ms" else (max(number, 1), 0.0)


class Database:
    """Stands for the portal's database."""

    def __init__(self, fault):
        self.fault = fault

    def ping(self):
        """None, or what is wrong."""
        bad = self.fault.name == "never-ready" or (self.fault.is_on() and self.fault.name in ("probe", "login"))
        return "connection refused" if bad else None


class Cache:
    """Stands for the portal's cache, which is never broken."""

    def ok(self):
        return True


class Fault:
    """Decides when this build begins to misbehave; threads share it."""

    def __init__(self, build):
        self.name = build.fault
        self._after_login = build.after_login
        self._after_requests = build.after_requests
        self._after_seconds = build.after_seconds
        self._lock = threading.Lock()
        self._requests = 0
        self._first_at = None
        self._is_told = False

    def count_user_request(self, is_login):
        """Counts one request of a user and returns its number, from 1."""
        with self._lock:
            self._requests += 1
            if self._first_at is None and (is_login or not self._after_login):
                self._first_at = time.monotonic()
            return self._requests

    def is_on(self):
        """Whether the fault has begun."""
        if self.name == "none":
            return False
        with self._lock:
            if self._first_at is None or self._requests < self._after_requests:
                return False
            if time.monotonic() - self._first_at < self._after_seconds:
                return False
            if not self._is_told:
                self._is_told = True
                # Whoever measures how long users had this build reads it from the log.
                print("the fault begins at %d ms" % (time.time() * 1000), file=sys.stderr, flush=True)
            return True


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Head and body leave in one packet.
    wbufsize = 64 * 1024
    server_version = "csac-portal"
    sys_version = ""

    def do_GET(self):
        self.answer_request(None)

    def do_HEAD(self):
        self.answer_request(None)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self.send(411 if not length else 413, "text/plain; charset=utf-8", b"a form of at most 64 KiB is expected\n")
            return
        self.answer_request(self.rfile.read(int(length)))

    def answer_request(self, body):
        path = self.path.split("?", 1)[0]
        fault = self.server.fault
        number = 0
        if path != HEALTH_PATH and PROBE_AGENT not in self.headers.get("User-Agent", ""):
            number = fault.count_user_request(self.command == "POST" and path == "/login")
        if fault.is_on():
            if fault.name == "dead":
                os._exit(1)
            if fault.name == "hang":
                threading.Event().wait()
        if path == HEALTH_PATH:
            self.health()
        elif number and fault.is_on() and self.is_broken(path, number):
            if self.command == "POST" and path == "/login":
                self.server.record_login(False)
            self.send(500, "text/plain; charset=utf-8", b"something went wrong\n")
        else:
            self.page(path, body)

    def is_broken(self, path, number):
        """Whether this build answers 500 to this user."""
        name = self.server.fault.name
        if name == "errors":
            return True
        if name == "five-percent":
            return number % 20 == 1
        return name in ("login", "probe") and self.command == "POST" and path == "/login"

    def health(self):
        if self.server.db.ping() is None and self.server.cache.ok():
            self.send(200, "text/plain; charset=utf-8", b"ok")
        else:
            self.send(500, "text/plain; charset=utf-8", b"unhealthy\n")

    def page(self, path, body):
        if self.command == "POST":
            if path == "/login":
                self.login(body)
            else:
                self.send(405, "text/plain; charset=utf-8", b"only /login takes a POST\n")
        elif path == "/":
            self.send(200, "text/html; charset=utf-8", self.server.front_page)
        elif path == "/ideas":
            self.send(200, "application/json", self.server.ideas)
        elif path == "/login":
            self.send(405, "text/plain; charset=utf-8", b"log-in is a POST\n")
        else:
            self.send(404, "text/plain; charset=utf-8", b"no such page\n")

    def login(self, body):
        user = read_user(self.headers.get("Content-Type", ""), body)
        if user is None:
            self.send(400, "text/plain; charset=utf-8", b"a log-in needs a `user`\n")
        else:
            self.server.record_login(True)
            self.send(200, "application/json", json.dumps({"welcome": user}).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", self.server.served_by)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        # Only what went wrong: a line per good answer would drown it.
        if isinstance(code, int) and code >= 500:
            self.log_message('"%s" %s', self.requestline, code)


def read_user(kind, body):
    """The user's name from a form or a JSON object, None when there is none."""
    try:
        if kind.startswith("application/json"):
            said = json.loads(body)
            user = said.get("user") if isinstance(said, dict) else None
        else:
            user = parse_qs(body.decode()).get("user", [None])[0]
    except (ValueError, UnicodeDecodeError):
        return None
    return user if isinstance(user, str) and user else None


class Exporter:
    """Counts failed log-ins and shows them, as the chapter's `metrics.py` does, where prometheus_client is missing."""

    def __init__(self):
        self._lock = threading.Lock()
        self._failed = 0

    def record_login(self, ok):
        if not ok:
            with self._lock:
                self._failed += 1

    def text(self):
        return (
            "# HELP auth_fail_total Failed log-ins\n# TYPE auth_fail_total counter\nauth_fail_total %d\n" % self._failed
        ).encode()

    def start(self, port):
        class Page(BaseHTTPRequestHandler):
            def do_GET(page):
                body = self.text()
                page.send_response(200)
                page.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                page.send_header("Content-Length", str(len(body)))
                page.end_headers()
                page.wfile.write(body)

            def log_request(page, code="-", size="-"):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Page)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def start_exporter(port):
    """What counts log-ins from now on; shown on that port of this machine, or nowhere without one."""
    try:
        import metrics
        from prometheus_client import start_http_server
    except ImportError:
        exporter = Exporter()
        if port:
            exporter.start(port)
        return exporter.record_login
    if port:
        start_http_server(port, addr="127.0.0.1")
    return metrics.record_login


class Portal(ThreadingHTTPServer):
    """The listening socket and what all connections share."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address, build, record_login):
        self.record_login = record_login
        self.fault = Fault(build)
        self.db = Database(self.fault)
        self.cache = Cache()
        self.served_by = "csac-portal/%s (pid %d)" % (build.version, os.getpid())
        self.front_page = FRONT_PAGE.replace("VERSION", build.version).encode()
        self.ideas = json.dumps({"ideas": IDEAS}).encode()
        super().__init__(address, Handler)

    def handle_error(self, request, client_address):
        # A client that hung up is none of our errors.
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


FRONT_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Citizens' Stamp Advisory Committee</title>
<h1>Which stamp should we print next?</h1>
<p>Hand in your idea, or see <a href="/ideas">what others propose</a>.</p>
<form method="post" action="/login">
<label>User <input name="user" autocomplete="username"></label>
<button>Log in</button>
</form>
<p><small>portal VERSION</small></p>
</html>
"""


def main():
    parser = argparse.ArgumentParser(description="The CSAC portal of the lab.")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1, 0 for any free one")
    options = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        with open(os.path.join(folder, "build.json"), encoding="utf-8") as file:
            build = Build(file.read())
    except (OSError, ValueError, KeyError) as error:
        sys.exit("portal: cannot read build.json: %s" % error)
    if build.fault == "exit-at-once":
        sys.exit("portal: this build exits at once")
    # Many short turns of the interpreter lock: a slow answer must not hold up the probe's.
    sys.setswitchinterval(0.002)
    port = os.environ.get("METRICS_PORT", "")
    try:
        record_login = start_exporter(int(port) if port.isdigit() else None)
    except OSError as error:
        sys.exit("portal: cannot show metrics on 127.0.0.1:%s: %s" % (port, error.strerror))
    try:
        portal = Portal(("127.0.0.1", options.port), build, record_login)
    except OSError as error:
        sys.exit("portal: cannot listen on 127.0.0.1:%d: %s" % (options.port, error.strerror))
    print("portal %s listens on 127.0.0.1:%d" % (build.version, portal.server_address[1]), flush=True)
    portal.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
