"""What `Metric.emit` costs its caller, with a tower that is up, down, or takes connections and never answers.

    python3 sdk/python/bench.py [--json] [--seconds S]

Each line is a process of its own. Threads time runs of 50 emits. The median run says what an emit costs; the mean
has the adding-up in it that callers do for each other, and the interpreter's switches between threads.
"""

import argparse
import http.server
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time

PACKAGE = pathlib.Path(__file__).resolve().parent
# Emits of one timed run: the clock itself costs less than a nanosecond of each.
RUN = 50
GOAL_NS = 500
LABELS = {"size": "large"}


class Door(http.server.BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = b'{"stored": 1, "duplicate": false, "refused": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def serve(state):
    """Runs one kind of tower until its parent closes the pipe; prints its port first."""
    if state == "up":
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if state == "slow":
            listener.listen()
        # Down: the port is taken and nobody listens on it.
    print(port, flush=True)
    sys.stdin.read()


def plain(emit, runs, until):
    clock, name = time.perf_counter_ns, "photo.upload.ok"
    while clock() < until:
        started = clock()
        for _ in range(RUN):
            emit(name, 1)
        runs.append(clock() - started)


def labelled(emit, runs, until):
    clock, name = time.perf_counter_ns, "photo.upload.ok"
    while clock() < until:
        started = clock()
        for _ in range(RUN):
            emit(name, 1, LABELS)
        runs.append(clock() - started)


def measure(kind, threads, seconds):
    """Emits in this process; prints what it cost."""
    from hms_ops import Metric

    all_runs = [[] for _ in range(threads)]
    until = time.perf_counter_ns() + int(seconds * 1e9)
    work = {"plain": plain, "labelled": labelled}[kind]
    workers = [threading.Thread(target=work, args=(Metric.emit, runs, until)) for runs in all_runs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    runs = [run for runs in all_runs for run in runs]
    found = {
        "median_ns": round(statistics.median(runs) / RUN),
        "mean_ns": round(statistics.fmean(runs) / RUN),
        "p99_ns": round(statistics.quantiles(runs, n=100)[98] / RUN),
        "longest_run_us": round(max(runs) / 1000),
        "emits": len(runs) * RUN,
        "dropped": Metric.stats().dropped,
    }
    print(json.dumps(found), flush=True)
    # What is left over is of no use to anybody.
    os._exit(0)


def case(state, kind, threads, seconds):
    script = [sys.executable, __file__]
    with subprocess.Popen([*script, "--serve", state], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        port = int(server.stdout.readline())
        env = {**os.environ, "HMSOPS_ENDPOINT": f"127.0.0.1:{port}", "PYTHONPATH": str(PACKAGE)}
        command = [*script, "--measure", kind, "--threads", str(threads), "--seconds", str(seconds)]
        output = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout
        server.stdin.close()
    return {"tower": state, "kind": kind, "threads": threads, **json.loads(output)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end, nothing else")
    parser.add_argument("--seconds", type=float, default=2.5, help="of each case (default: 2.5)")
    parser.add_argument("--serve", choices=("up", "down", "slow"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=("plain", "labelled"), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        return serve(asked.serve)
    if asked.measure:
        return measure(asked.measure, asked.threads, asked.seconds)
    cases = []
    for state in ("up", "down", "slow"):
        for kind, threads in (("plain", 1), ("plain", 4), ("labelled", 1)):
            found = case(state, kind, threads, asked.seconds)
            cases.append(found)
            if not asked.json:
                print(
                    f"tower {state:4}  {kind:8}  {threads} thread{'s' if threads > 1 else ' '}  "
                    f"median {found['median_ns']:4} ns  mean {found['mean_ns']:4} ns  "
                    f"p99 {found['p99_ns']:5} ns  "
                    f"{found['emits']:9} emits, {found['dropped']} dropped"
                )
    worst = max(found["median_ns"] for found in cases if found["kind"] == "plain")
    summary = {"emit_median_ns": worst, "goal_ns": GOAL_NS, "python": platform.python_version(), "cases": cases}
    if asked.json:
        print(json.dumps(summary))
    else:
        print(f"the slowest median of plain emits is {worst} ns; the goal is {GOAL_NS} ns at most")


if __name__ == "__main__":
    main()
