"""What the lab relies on: good builds answer, bad builds pass their first probes and then break as announced."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

PORTAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "portal.py")


class Running:
    """One build of the portal, running on a free port; ended by `close`."""

    def __init__(self, fault="none", after="first-request"):
        self.folder = tempfile.mkdtemp()
        shutil.copy(PORTAL, os.path.join(self.folder, "portal"))
        shutil.copy(os.path.join(os.path.dirname(PORTAL), "metrics.py"), self.folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.metrics_port = free.getsockname()[1]
        with open(os.path.join(self.folder, "build.json"), "w", encoding="utf-8") as file:
            json.dump({"version": "1.8.0", "build": 1, "fault": fault, "after": after}, file)
        self.process = subprocess.Popen(
            [sys.executable, "./portal", "--port", "0"],
            cwd=self.folder,
            env=dict(os.environ, METRICS_PORT=str(self.metrics_port)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        found = re.search(r":(\d+)$", self.process.stdout.readline().strip())
        self.port = int(found.group(1)) if found else None

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder)

    def ask(self, method, path, body=None, agent="test", timeout=10):
        """Status, body and headers of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"User-Agent": agent})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def get(self, path, **options):
        return self.ask("GET", path, **options)[0]

    def login(self):
        return self.ask("POST", "/login", "user=ada")[0]

    def health(self):
        return self.get("/api/v1/health", agent="hmsops-probe")


class PortalTest(unittest.TestCase):
    def start(self, *options):
        running = Running(*options)
        self.addCleanup(running.close)
        return running

    def test_a_good_build_answers_as_the_chapter_says(self):
        portal = self.start()
        status, body, headers = portal.ask("GET", "/api/v1/health")
        self.assertEqual((status, body), (200, b"ok"))
        self.assertEqual(headers["X-Served-By"], "csac-portal/1.8.0 (pid %d)" % portal.process.pid)
        self.assertIn(b"Which stamp", portal.ask("GET", "/")[1])
        self.assertEqual(len(json.loads(portal.ask("GET", "/ideas")[1])["ideas"]), 3)
        self.assertEqual(portal.login(), 200)

    def test_bad_input_is_refused(self):
        portal = self.start()
        for method, path, body, status in (
            ("GET", "/nowhere", None, 404),
            ("GET", "/login", None, 405),
            ("POST", "/ideas", "x=1", 405),
            ("POST", "/login", "name=ada", 400),
            ("POST", "/login", b"\xff\xfe", 400),
            ("POST", "/login", "x" * 70000, 413),
        ):
            self.assertEqual(portal.ask(method, path, body)[0], status, (method, path))

    def test_json_log_ins_are_read(self):
        portal = self.start()
        connection = http.client.HTTPConnection("127.0.0.1", portal.port)
        self.addCleanup(connection.close)
        for body, status in ((b'{"user": "ada"}', 200), (b'["ada"]', 400), (b"{", 400)):
            connection.request("POST", "/login", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, status, body)

    def test_faults_wait_for_the_first_user(self):
        for fault in ("dead", "hang", "probe", "errors", "login", "five-percent"):
            portal = self.start(fault)
            # Neither the probe nor a person who looks at the health path is a user.
            self.assertEqual([portal.health(), portal.get("/api/v1/health")], [200, 200], fault)
            self.assertEqual(portal.get("/", agent="hmsops-probe/1"), 200, fault)

    def test_dead_exits_without_an_answer(self):
        portal = self.start("dead")
        with self.assertRaises((http.client.RemoteDisconnected, ConnectionError)):
            portal.get("/")
        self.assertEqual(portal.process.wait(timeout=10), 1)

    def test_hang_accepts_and_never_answers(self):
        portal = self.start("hang")
        for path in ("/", "/api/v1/health"):
            with self.assertRaises(socket.timeout):
                portal.get(path, timeout=0.3)
        self.assertIsNone(portal.process.poll())

    def test_probe_and_login_fail_log_ins_and_health(self):
        for fault in ("probe", "login"):
            portal = self.start(fault)
            self.assertEqual(portal.get("/"), 200)
            status, body, _ = portal.ask("GET", "/api/v1/health")
            self.assertEqual((status, body), (500, b"unhealthy\n"))
            self.assertEqual([portal.login(), portal.get("/ideas")], [500, 200])

    def test_failed_log_ins_are_counted_for_prometheus(self):
        portal = self.start("login")
        self.assertEqual([portal.get("/"), portal.login(), portal.login()], [200, 500, 500])
        connection = http.client.HTTPConnection("127.0.0.1", portal.metrics_port, timeout=10)
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        self.assertRegex(text, r"(?m)^# TYPE auth_fail_total counter$")
        self.assertRegex(text, r"(?m)^auth_fail_total 2(\.0)?$")

    def test_errors_fail_every_user_and_no_probe(self):
        portal = self.start("errors")
        self.assertEqual([portal.get("/"), portal.get("/ideas"), portal.login()], [500, 500, 500])
        self.assertEqual(portal.health(), 200)

    def test_five_percent_fails_one_answer_in_twenty(self):
        portal = self.start("five-percent")
        answers = [portal.get("/") for _ in range(100)]
        self.assertEqual((answers.count(500), answers.count(200)), (5, 95))
        self.assertEqual(portal.health(), 200)

    def test_never_ready_and_exit_at_once(self):
        self.assertEqual(self.start("never-ready").health(), 500)
        self.assertNotEqual(self.start("exit-at-once").process.wait(timeout=10), 0)

    def test_a_fault_can_come_later(self):
        portal = self.start("errors", "3 requests")
        self.assertEqual([portal.get("/") for _ in range(4)], [200, 200, 500, 500])
        portal = self.start("errors", "100000 ms")
        self.assertEqual([portal.get("/"), portal.get("/")], [200, 200])

    def test_it_answers_many_at_once_over_kept_connections(self):
        portal = self.start()
        statuses = []

        def client():
            connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=10)
            for _ in range(20):
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
            connection.close()

        clients = [threading.Thread(target=client) for _ in range(20)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        self.assertEqual(statuses, [200] * 400)


if __name__ == "__main__":
    unittest.main()
