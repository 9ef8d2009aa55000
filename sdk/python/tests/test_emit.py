"""`Metric.emit` never blocks and never raises, and what it was given arrives once."""

import json
import socket
import threading
import time
import unittest

from tower_double import PATIENCE, Tower, finish, free_port, run, start

# Chapter 20 §3.1, with a `_save` to call and a call.
DMV_PHOTO = '''
def _save(blob):
    return blob != b"bad"

# dmv_photo.py  (excerpt)
from hms_ops import Metric

def upload_photo(blob):
    ok = _save(blob)          # pretend work
    Metric.emit("photo.upload.ok", 1 if ok else 0)
    return ok

for blob in (b"one", b"bad", b"two"):
    upload_photo(blob)
'''


class Arriving(unittest.TestCase):
    def test_the_chapters_excerpt_runs_as_written(self):
        with Tower() as tower:
            before = time.time() * 1000 - 1
            out, err = run(DMV_PHOTO, tower.port, HMS_SERVICE="dmv-photo", HMS_VERSION="2.0.1")
            self.assertEqual((out, err), ("", ""))
            (body,) = tower.stored.values()
            (metric,) = body["metrics"]
        self.assertRegex(body["source"], "^[0-9a-f]{32}$")
        self.assertEqual((body["sequence"], body["dropped"]), (1, 0))
        self.assertEqual(body["labels"], {"service": "dmv-photo", "version": "2.0.1"})
        moment = metric.pop("time")
        self.assertTrue(before <= moment <= time.time() * 1000, moment)
        expected = {"name": "photo.upload.ok", "labels": {}, "sum": 2, "count": 3, "min": 0, "max": 1, "last": 1}
        self.assertEqual(metric, expected)

    def test_a_single_emit_right_before_the_end_arrives(self):
        with Tower() as tower:
            run("import hms_ops; hms_ops.Metric.emit('a')", tower.port)
            self.assertEqual(tower.totals(), {"a": (1, 1)})

    def test_a_running_process_is_heard_without_flush(self):
        with Tower() as tower:
            process = start("import hms_ops; hms_ops.Metric.emit('a', 3); input()", tower.port)
            tower.wait_for(lambda: tower.totals() == {"a": (3, 1)})
            finish(process, "\n")

    def test_an_emit_from_an_exit_hook_arrives_though_no_thread_can_start_then(self):
        program = "import atexit, hms_ops; atexit.register(hms_ops.Metric.emit, 'late', 7)"
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals(), {"late": (7, 1)})

    def test_where_no_thread_can_be_had_values_arrive_at_the_end(self):
        program = """
import threading
def refuse(thread): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
from hms_ops import Metric
for _ in range(1000): Metric.emit("a")
assert not Metric.flush(0.1)
"""
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals(), {"a": (1000, 1000)})

    def test_labels_make_series_in_any_order_and_what_is_not_finite_has_a_name(self):
        program = """
from hms_ops import Metric
Metric.emit("a", 1, {"x": "1", "y": "2"})
Metric.emit("a", 2, {"y": "2", "x": "1", "empty": ""})
Metric.emit("a", 4, {"x": 1, "y": 2})
Metric.emit("a", True, {"x": True})
Metric.emit("nan", float("nan")); Metric.emit("nan", 5)
Metric.emit("inf", float("-inf")); Metric.emit("inf", float("inf"))
labels = {"k": "before"}
Metric.emit("b", 1, labels); labels["k"] = "after"
"""
        with Tower() as tower:
            run(program, tower.port)
            found = {(m["name"], *sorted(m["labels"].items())): m for m in tower.metrics()}
        self.assertEqual(found["a", ("x", "1"), ("y", "2")]["sum"], 7)
        self.assertEqual(found["a", ("x", "True"),]["sum"], 1)
        nan, inf = found[("nan",)], found[("inf",)]
        self.assertEqual([nan[key] for key in ("sum", "min", "max", "last")], ["NaN", 5, 5, 5])
        self.assertEqual([inf[key] for key in ("sum", "min", "max", "last")], ["NaN", "-Inf", "+Inf", "+Inf"])
        self.assertIn(("b", ("k", "before")), found)

    def test_a_mapping_that_is_no_dict_labels_too(self):
        program = "import types, hms_ops; hms_ops.Metric.emit('a', 1, types.MappingProxyType({'k': 'v'}))"
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual([m["labels"] for m in tower.metrics()], [{"k": "v"}])

    def test_many_series_arrive_in_batches_that_a_tower_takes(self):
        program = """
from hms_ops import Metric
for n in range(2000): Metric.emit("m", n, {"n": str(n), "long": "\\n" * 1000})
"""
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals(), {"m": (sum(range(2000)), 2000)})
            self.assertLess(max(map(len, tower.bodies)), 1 << 20)
            self.assertEqual(sorted(seq for _, seq in tower.stored), list(range(1, len(tower.stored) + 1)))

    def test_the_token_goes_along_and_no_proxy_is_asked(self):
        dead = f"http://127.0.0.1:{free_port()}"
        with Tower() as tower:
            program = "import hms_ops; hms_ops.Metric.emit('a')"
            run(program, tower.port, HMSOPS_TOKEN="hms_x", http_proxy=dead, HTTP_PROXY=dead, ALL_PROXY=dead)
            path, headers = tower.seen[0]
        self.assertEqual((path, headers["Authorization"]), ("/v1/emit", "Bearer hms_x"))
        self.assertEqual(headers["Content-Type"], "application/json")

    def test_importing_starts_nothing(self):
        program = """
import threading, hms_ops
assert threading.active_count() == 1
hms_ops.Metric.flush(); hms_ops.Metric.stats()
assert threading.active_count() == 1
"""
        run(program, free_port())


class Failing(unittest.TestCase):
    """Each program says how long its emits took and how it ended; none may hang or raise."""

    EMITS = """
import time
from hms_ops import Metric
started = time.monotonic()
for _ in range(20000): Metric.emit("a")
assert time.monotonic() - started < 2, "emit blocks"
"""

    def test_with_no_tower_emit_returns_and_the_process_ends_at_once(self):
        started = time.monotonic()
        _, err = run(self.EMITS, free_port())
        self.assertLess(time.monotonic() - started, 5)
        self.assertRegex(err, "^20000 emitted values could not be sent before the process ended: .*refused")
        self.assertNotIn("Traceback", err)

    def test_a_tower_that_takes_connections_and_never_answers_holds_nobody(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            started = time.monotonic()
            _, err = run(self.EMITS, silent.getsockname()[1])
            self.assertLess(time.monotonic() - started, 7)
            self.assertIn("20000 emitted values could not be sent", err)

    def test_values_of_a_time_without_a_tower_arrive_when_there_is_one(self):
        port = free_port()
        program = f"""
from hms_ops import Metric
for n in range(100): Metric.emit("a", n)
assert not Metric.flush(0.1)
assert Metric.stats() == (0, 0, 100), Metric.stats()
print("down", flush=True)
assert Metric.flush({PATIENCE})
assert Metric.stats() == (100, 0, 0), Metric.stats()
"""
        process = start(program, port)
        self.assertEqual(process.stdout.readline(), "down\n")
        with Tower(port) as tower:
            self.assertEqual(finish(process)[1], "")
            self.assertEqual(tower.totals(), {"a": (4950, 100)})

    def test_a_tower_that_is_restarted_loses_and_doubles_nothing(self):
        program = f"""
from hms_ops import Metric
emitted = 0
for line in iter(input, "end"):
    for _ in range(1000): Metric.emit("a"); emitted += 1
    if line == "flush":
        assert Metric.flush({PATIENCE})
    print(emitted, flush=True)
assert Metric.flush({PATIENCE})
assert Metric.stats() == (emitted, 0, 0), Metric.stats()
"""
        port = free_port()
        process = start(program, port)

        def say(word):
            process.stdin.write(word + "\n")
            process.stdin.flush()
            return int(process.stdout.readline()) if word != "end" else None

        total = 0
        for life in range(3):
            with Tower(port, faults=["silent"] if life else []) as tower:
                say("flush")
                emitted = say("flush")
                # A lost answer means the same sequence once more, which one life of the double tells apart.
                total += tower.totals()["a"][1]
                self.assertEqual(total, emitted)
            total += 1000
            say("emit")
            total -= 1000
        with Tower(port) as tower:
            say("end")
            finish(process)
            total += tower.totals()["a"][1]
        self.assertEqual(total, 9000)

    def test_what_may_have_arrived_is_sent_again_as_it_was(self):
        faults = [500, 503, 429, 408, "garbage", "other", 302, "silent"]
        program = f"""
from hms_ops import Metric
Metric.emit("a", 2)
ok = Metric.flush({PATIENCE})
assert ok and Metric.stats() == (1, 0, 0), Metric.stats()
"""
        with Tower(faults=faults) as tower:
            run("import hms_ops.outbox; hms_ops.outbox.PAUSE_MAX = 0.01\n" + program, tower.port)
            self.assertEqual(tower.totals(), {"a": (2, 1)})
            self.assertEqual(len(tower.bodies), len(faults) + 1)
            self.assertEqual(len(set(tower.bodies)), 1)

    def test_what_a_tower_refuses_is_dropped_counted_and_said_once(self):
        program = f"""
from hms_ops import Metric
for name in "abc":
    for _ in range(10): Metric.emit(name)
    assert Metric.flush({PATIENCE})
assert Metric.stats() == (10, 20, 0), Metric.stats()
"""
        with Tower(faults=[400, {"refused": [{"index": 0, "why": "no room"}, {"index": 9, "why": "-"}]}]) as tower:
            _, err = run(program, tower.port)
            last = json.loads(tower.bodies[2])
        self.assertEqual(last["dropped"], 20)
        said = "10 emitted values were dropped, 10 in all; the last because: the tower refused them with 400"
        self.assertEqual(err.strip(), f"{said}: not like this")

    def test_wrong_names_and_values_are_counted_and_nothing_is_raised(self):
        program = f"""
import decimal, fractions, threading
from hms_ops import Metric
class Trap:
    def __getattribute__(self, name): raise ValueError(name)
    def __hash__(self): raise ValueError
class Loop(str):
    def __str__(self): return Metric.emit(self)
class Odd(float):
    def __float__(self): raise KeyError
cycle = {{}}; cycle["a"] = cycle
for name in (None, 1, "", "x" * 2000, "\\ud800", [], {{}}, Trap(), b"a", ("a", ())): Metric.emit(name)
for value in (None, "1", b"1", [], {{}}, 1j, object(), Trap(), 10 ** 400, Odd()): Metric.emit("a", value)
for labels in (1, "x", [("a", "b")], {{1: "a"}}, {{"": "a"}}, {{"a": "x" * 2000}}, {{"__name__": "b"}}, Trap(),
               {{str(n): "x" for n in range(40)}}, {{"a": "\\ud800"}}): Metric.emit("a", 1, labels)
for value in (1, 2.5, True, decimal.Decimal("1.5"), fractions.Fraction(1, 2)): Metric.emit("good", value)
Metric.emit("good", 1, cycle)
assert Metric.flush({PATIENCE})
assert Metric.stats() == (6, 30, 0), Metric.stats()
"""
        with Tower() as tower:
            _, err = run(program, tower.port)
            self.assertEqual(tower.totals(), {"good": (7.5, 6)})
        self.assertEqual(err.count("\n"), 1, err)
        self.assertIn("30 emitted values were dropped", err)

    def test_a_wrong_endpoint_is_said_and_harms_nobody(self):
        for wrong in ("ftp://tower:4317", "a:b", ":", "http://", "[::1", "host:99999"):
            program = "import hms_ops; hms_ops.Metric.emit('a')"
            process = start(f"import os; os.environ['HMSOPS_ENDPOINT'] = {wrong!r}\n" + program, 1)
            self.assertIn("HMSOPS_ENDPOINT is", finish(process)[1], wrong)

    def test_past_ten_thousand_series_new_ones_are_dropped_and_known_ones_go_on(self):
        program = f"""
from hms_ops import Metric
for n in range(10100): Metric.emit(f"n{{n}}")
Metric.emit("n0", 5)
assert Metric.flush({PATIENCE})
assert Metric.stats() == (10001, 100, 0), Metric.stats()
"""
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals()["n0"], (6, 2))


class Interrupting(unittest.TestCase):
    def test_threads_lose_nothing(self):
        program = f"""
import sys, threading
from hms_ops import Metric
sys.setswitchinterval(1e-5)
def work(k):
    for n in range(20000):
        Metric.emit("a", n & 1)
        if n % 100 == 0: Metric.emit("b", 1, {{"thread": str(k)}})
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
for t in threads: t.start()
while any(t.is_alive() for t in threads): Metric.flush({PATIENCE})
for t in threads: t.join()
assert Metric.flush({PATIENCE})
assert Metric.stats() == (161600, 0, 0), Metric.stats()
"""
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals(), {"a": (80000, 160000), "b": (1600, 1600)})

    def test_signal_handlers_finalizers_and_log_handlers_may_emit(self):
        program = f"""
import gc, logging, signal
from hms_ops import Metric
handled = []
def handle(*_):
    handled.append(1)
    for _ in range(300): Metric.emit("signal")
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
class Garbage:
    def __init__(self): self.me = self
    def __del__(self): Metric.emit("garbage")
class Handler(logging.Handler):
    def emit(self, record): Metric.emit(""); Metric.emit("logged")
logging.getLogger().addHandler(Handler())
gc.set_threshold(50)
n = 0
Metric.emit("")
while len(handled) < 200:
    Garbage(); n += 1; Metric.emit("a"); Metric.emit("b", 1, {{"n": str(n % 100)}})
signal.setitimer(signal.ITIMER_REAL, 0)
gc.collect()
assert Metric.flush({PATIENCE})
Metric.flush({PATIENCE})
print(n, len(handled) * 300)
"""
        with Tower() as tower:
            out, _ = run(program, tower.port)
            n, handled = map(int, out.split())
            totals = tower.totals()
        self.assertEqual((totals["a"][1], totals["b"][1], totals["garbage"][1]), (n, n, n))
        self.assertEqual(totals["signal"][1], handled)
        self.assertEqual(totals["logged"][1], 1)


class Forking(unittest.TestCase):
    def test_a_child_is_a_source_of_its_own_and_sends_nothing_of_its_parents(self):
        program = """
import os
from hms_ops import Metric
for _ in range(5): Metric.emit("a")
Metric.emit("a", 1, {"k": "v"})
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        for _ in range(100): Metric.emit("a")
        raise SystemExit
    children.append(child)
for child in children: assert os.waitpid(child, 0)[1] == 0
Metric.emit("a")
"""
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals(), {"a": (407, 407)})
            self.assertEqual(len({source for source, _ in tower.stored}), 5)
            self.assertEqual({seq for _, seq in tower.stored if seq > 2}, set())

    def test_a_fork_in_the_middle_of_a_flush_disturbs_neither(self):
        program = f"""
import os, sys
from hms_ops import Metric
Metric.emit("a")
assert Metric.flush({PATIENCE})
Metric.emit("a")
input()
child = os.fork()
if child == 0:
    Metric.emit("a", 10)
    assert Metric.flush({PATIENCE})
    raise SystemExit
assert os.waitpid(child, 0)[1] == 0
print("child", flush=True)
input()
Metric.emit("a")
assert Metric.flush({PATIENCE})
assert Metric.stats() == (3, 0, 0), Metric.stats()
"""
        with Tower(faults=[None, "slow"]) as tower:
            process = start(program, tower.port)
            tower.wait_for(lambda: len(tower.bodies) == 2)
            # The parent's thread waits for an answer now.
            process.stdin.write("\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "child\n")
            tower.slow.set()
            finish(process, "\n")
            self.assertEqual(tower.totals(), {"a": (13, 4)})

    def test_a_child_does_not_keep_its_parents_connection_open(self):
        program = f"""
import os
from hms_ops import Metric
Metric.emit("a")
assert Metric.flush({PATIENCE})
if os.fork() == 0: input()
else: os._exit(0)
"""
        with Tower() as tower:
            process = start(program, tower.port)
            tower.wait_for(lambda: tower.totals() and tower.connections() == 0)
            finish(process, "\n")

    def test_forks_while_threads_emit_never_hang(self):
        program = """
import os, threading
from hms_ops import Metric
stop = threading.Event()
def work():
    while not stop.is_set(): Metric.emit("noise"); Metric.emit("noise", 1, {"k": "v"})
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        Metric.emit("child")
        assert Metric.flush(15)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for t in threads: t.join()
"""
        with Tower() as tower:
            run(program, tower.port)
            self.assertEqual(tower.totals()["child"], (20, 20))

    def test_the_sending_thread_imports_nothing(self):
        """A child forked in the middle of an import would wait for it for ever."""
        program = f"""
import sys
from hms_ops import Metric
before = set(sys.modules)
def added(): return set(sys.modules) - before
Metric.emit("a"); Metric.emit("b", 1, {{"k": "v"}}); Metric.emit("c", float("nan"))
Metric.flush({PATIENCE}); assert not added(), added()
Metric.emit(""); Metric.emit("a")
Metric.flush({PATIENCE}); assert not added(), added()
Metric.emit("a")
Metric.flush(0.1); print(); input()
assert not added(), added()
"""
        with Tower(faults=[500, 400]) as tower:
            process = start(program, tower.port)
            self.assertEqual(process.stdout.readline(), "\n")
        finish(process, "\n")

    def test_children_of_multiprocessing_are_heard_whatever_starts_them(self):
        program = """
import multiprocessing, sys
from dmv_worker import work
if __name__ == "__main__":
    from hms_ops import Metric
    Metric.emit("a")
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(k,)) for k in range(3)]
    for child in children: child.start()
    for child in children: child.join(); assert child.exitcode == 0
"""
        import pathlib
        import subprocess
        import sys
        import tempfile

        from tower_double import PACKAGE, environment

        with tempfile.TemporaryDirectory() as folder:
            worker = "from hms_ops import Metric\ndef work(k):\n    for _ in range(10): Metric.emit('a')\n"
            pathlib.Path(folder, "dmv_worker.py").write_text(worker)
            pathlib.Path(folder, "start.py").write_text(program)
            for method in ("fork", "spawn"):
                with self.subTest(method), Tower() as tower:
                    env = environment(tower.port)
                    env["PYTHONPATH"] = f"{PACKAGE}:{folder}"
                    command = [sys.executable, f"{folder}/start.py", method]
                    subprocess.run(command, env=env, check=True, timeout=PATIENCE)
                    self.assertEqual(tower.totals(), {"a": (31, 31)})
                    self.assertEqual(len({source for source, _ in tower.stored}), 4)


class Answering(unittest.TestCase):
    def test_a_connection_that_was_closed_while_idle_is_opened_again_without_a_failure(self):
        from hms_ops.link import Link

        body = b'{"source": "s", "sequence": 1, "metrics": []}'
        with Tower() as tower:
            link = Link("127.0.0.1", tower.port, 2.0, 2.0)
            self.assertEqual(link.post("/v1/emit", body, {}).status, 200)
            tower.break_connections()
            tower.wait_for(lambda: tower.connections() == 0)
            self.assertEqual(link.post("/v1/emit", body, {}).status, 200)
            link.close()

    def test_an_answer_that_drips_ends_by_the_deadline(self):
        from hms_ops.link import Link

        listener = socket.create_server(("127.0.0.1", 0))
        done = threading.Event()

        def drip():
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not done.wait(0.05):
                    peer.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        link = Link("127.0.0.1", listener.getsockname()[1], 2.0, 0.3)
        started = time.monotonic()
        with self.assertRaises(OSError):
            link.post("/", b"{}", {})
        self.assertLess(time.monotonic() - started, 3)
        done.set()
        thread.join(PATIENCE)
        listener.close()


if __name__ == "__main__":
    unittest.main()
