#!/usr/bin/env python3
"""DMV photo: takes in the photos for driver's licenses.

The second service of the lab. It says of each upload whether it was stored, with the chapter's `upload_photo`
in `dmv_photo.py` beside it, and that is all that its alert rule knows of it. One source serves every version;
the file `build.json` beside it says which version this build is, and what is wrong with it:

    {"version": "1.4.0", "build": 1, "fault": "leak"}

fault   none    nothing
        leak    a failed upload keeps its connection to the photo store for ever; after 20 of them there is
                none left, and every upload fails until the process is another one
        share   two uploads in five fail, from the first one on

A failed upload answers 502; `POST /api/photo/fail` is one on purpose. The health path stays well: what is broken
is behind the service, where a probe does not look.

Python 3.9, standard library and `hms_ops`.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The folder's digest is pinned: nothing is written into it.
sys.dont_write_bytecode = True

import dmv_photo

FAULTS = ("none", "leak", "share")
HEALTH_PATH = "/api/v1/health"
UPLOAD_PATH = "/api/photo/upload"
FAIL_PATH = "/api/photo/fail"
# A photo for a license is far smaller; anything larger is not one.
PHOTO_BYTES_MAX = 4 * 1024 * 1024
# Connections to the photo store.
CONNECTIONS = 20


class Build:
    """What `build.json` says."""

    def __init__(self, text):
        said = json.loads(text)
        unknown = sorted(set(said) - {"version", "build", "fault"})
        if unknown:
            raise ValueError("unknown key `%s`" % unknown[0])
        self.version = str(said["version"])
        self.fault = said.get("fault", "none")
        if self.fault not in FAULTS:
            raise ValueError("unknown fault `%s`, expected one of %s" % (self.fault, ", ".join(FAULTS)))


class Store:
    """Stands for the photo store and this build's way of using it; threads share it."""

    def __init__(self, fault):
        self._fault = fault
        self._lock = threading.Lock()
        self._connections = CONNECTIONS
        self._uploads = 0

    def save(self, blob):
        """Whether the photo was stored. `None` is one that the store refuses."""
        with self._lock:
            self._uploads += 1
            if self._connections == 0:
                return False
            if blob is None:
                if self._fault == "leak":
                    self._connections -= 1
                return False
            return not (self._fault == "share" and self._uploads % 5 in (1, 3))


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Head and body leave in one packet.
    wbufsize = 64 * 1024
    server_version = "dmv-photo"
    sys_version = ""

    def do_GET(self):
        path = self.path.split("?", 1)[0]
        if path == HEALTH_PATH:
            self.send(200, "text/plain; charset=utf-8", b"ok")
        elif path in (UPLOAD_PATH, FAIL_PATH):
            self.send(405, "text/plain; charset=utf-8", b"a photo is a POST\n")
        else:
            self.send(404, "text/plain; charset=utf-8", b"no such page\n")

    do_HEAD = do_GET

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        path = self.path.split("?", 1)[0]
        # `curl -X POST` without a body says no length.
        if not length and path == FAIL_PATH and "Transfer-Encoding" not in self.headers:
            length = "0"
        if not (length.isascii() and length.isdigit()) or len(length) > 9 or int(length) > PHOTO_BYTES_MAX:
            self.close_connection = True
            self.send(411 if not length else 413, "text/plain; charset=utf-8", b"a photo has at most 4 MiB\n")
            return
        body = self.rfile.read(int(length))
        if path == UPLOAD_PATH and not body:
            self.send(400, "text/plain; charset=utf-8", b"there is no photo in it\n")
        elif path in (UPLOAD_PATH, FAIL_PATH):
            self.upload(body if path == UPLOAD_PATH else None)
        else:
            self.send(404, "text/plain; charset=utf-8", b"photos go to /api/photo/upload\n")

    def upload(self, blob):
        if dmv_photo.upload_photo(blob):
            self.send(201, "application/json", json.dumps({"stored": len(blob)}).encode())
        else:
            self.send(502, "text/plain; charset=utf-8", b"the photo store did not take it\n")

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


class Photo(ThreadingHTTPServer):
    """The listening socket and what all connections share."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address, build):
        self.served_by = "dmv-photo/%s (pid %d)" % (build.version, os.getpid())
        # The chapter's excerpt leaves out how a photo is stored.
        dmv_photo._save = Store(build.fault).save
        super().__init__(address, Handler)

    def handle_error(self, request, client_address):
        # A client that hung up is none of our errors.
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description="The photo service of the lab.")
    default = os.environ.get("PORT", "")
    parser.add_argument(
        "--port",
        type=int,
        default=int(default) if default.isdigit() else None,
        help="port on 127.0.0.1, 0 for any free one; $PORT without it",
    )
    options = parser.parse_args()
    if options.port is None:
        parser.error("--port or $PORT is needed")
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        with open(os.path.join(folder, "build.json"), encoding="utf-8") as file:
            build = Build(file.read())
    except (OSError, ValueError, KeyError) as error:
        sys.exit("photo: cannot read build.json: %s" % error)
    try:
        photo = Photo(("127.0.0.1", options.port), build)
    except OSError as error:
        sys.exit("photo: cannot listen on 127.0.0.1:%d: %s" % (options.port, error.strerror))
    # Asked to end, it still tells what it has counted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("photo %s listens on 127.0.0.1:%d" % (build.version, photo.server_address[1]), flush=True)
    photo.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
