"""What the lab relies on: good builds store photos, bad builds fail as announced, and each upload is told once."""

import http.client
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

LAB = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Tower(http.server.BaseHTTPRequestHandler):
    """Takes what is emitted; its server keeps the sum of each name."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        answer = b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_request(self, code="-", size="-"):
        pass


class Running:
    """One build of the service on a free port, built by the lab's script; ended by `close`."""

    def __init__(self, fault, endpoint):
        self.folder = os.path.join(tempfile.mkdtemp(), "1.4.0")
        build = os.path.join(LAB, "scripts", "build_photo.sh")
        subprocess.run([build, "1.4.0", self.folder, fault], check=True)
        self.process = subprocess.Popen(
            [sys.executable, "./photo", "--port", "0"],
            cwd=self.folder,
            env=dict(os.environ, HMSOPS_ENDPOINT=endpoint, HMS_SERVICE="dmv-photo", HMS_VERSION="1.4.0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = int(re.search(r":(\d+)$", self.process.stdout.readline().strip()).group(1))

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(os.path.dirname(self.folder))

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def upload(self):
        return self.ask("POST", "/api/photo/upload", b"\xff\xd8photo")

    def fail(self):
        return self.ask("POST", "/api/photo/fail")


class PhotoTest(unittest.TestCase):
    def setUp(self):
        self.tower = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tower)
        self.tower.bodies = []
        self.tower.daemon_threads = True
        threading.Thread(target=self.tower.serve_forever, daemon=True).start()
        self.addCleanup(self.tower.server_close)
        self.addCleanup(self.tower.shutdown)

    def start(self, fault="none"):
        running = Running(fault, "127.0.0.1:%d" % self.tower.server_address[1])
        self.addCleanup(running.close)
        return running

    def test_photos_are_stored_and_one_fails_on_purpose(self):
        photo = self.start()
        answers = [photo.upload(), photo.fail(), photo.upload(), photo.ask("GET", "/api/v1/health")]
        self.assertEqual(answers, [201, 502, 201, 200])

    def test_bad_input_is_refused(self):
        photo = self.start()
        for method, path, body, status in (
            ("GET", "/", None, 404),
            ("GET", "/api/photo/upload", None, 405),
            ("POST", "/api/photo/upload", b"", 400),
            ("POST", "/api/photo/upload", b"x" * (4 * 1024 * 1024 + 1), 413),
            ("POST", "/api/photo", b"x", 404),
        ):
            try:
                self.assertEqual(photo.ask(method, path, body), status, (method, path))
            except ConnectionError:
                # Refused before all of it was read.
                self.assertEqual(status, 413)

    def test_a_build_that_leaks_fails_all_uploads_after_twenty_and_stays_healthy(self):
        photo = self.start("leak")
        self.assertEqual([photo.fail() for _ in range(19)] + [photo.upload()], [502] * 19 + [201])
        answers = [photo.fail(), photo.upload(), photo.upload(), photo.ask("GET", "/api/v1/health")]
        self.assertEqual(answers, [502, 502, 502, 200])

    def test_a_build_that_fails_a_share_fails_two_in_five(self):
        photo = self.start("share")
        answers = [photo.upload() for _ in range(50)]
        self.assertEqual((answers.count(502), answers.count(201)), (20, 30))

    def test_each_upload_is_told_once_also_at_the_end(self):
        photo = self.start()
        statuses = [photo.upload(), photo.upload(), photo.fail()]
        self.assertEqual(statuses, [201, 201, 502])
        photo.process.terminate()
        self.assertEqual(photo.process.wait(timeout=10), 0)
        told = json.dumps(self.tower.bodies)
        self.assertIn("photo.upload.ok", told)
        self.assertIn("dmv-photo", told)


if __name__ == "__main__":
    unittest.main()
