"""`Alert.create` asks the right tower with the right token, says how a rule is read, and fails with a remedy."""

import json
import os
import pathlib
import pickle
import tempfile
import unittest
from unittest import mock

from tower_double import RULE, Tower, environment, free_port, run
from hms_ops import Alert, Error, Heal, contexts, tower

# Chapter 20 §3.3, as written.
HEAL_RULE = '''
# heal_rule.py   (≤ 20 lines)
from hms_ops import Alert, Heal

Alert.create(
    name    = "photo_error_spike",
    expr    = "rate(photo.upload.ok[1m]) < 0.7",
    for_sec = 60,
    on_fire = Heal(script="rollback dmv-photo --to=prev")
)
'''


class Creating(unittest.TestCase):
    def create(self, port, **arguments):
        with mock.patch.dict(os.environ, environment(port, HMSOPS_TOKEN="hms_t"), clear=True):
            return Alert.create(**{"name": "a", "expr": "b > 1", **arguments})

    def test_the_chapters_excerpt_runs_as_written_and_prints_both_readings(self):
        with Tower() as double:
            out, err = run(HEAL_RULE, double.port, HMSOPS_TOKEN="hms_t")
            (path, headers), body = double.seen[0], json.loads(double.bodies[0])
        self.assertEqual(out, "")
        self.assertEqual((path, headers["Authorization"]), ("/hms/v1/rules", "Bearer hms_t"))
        expected = {
            "name": "photo_error_spike",
            "expr": "rate(photo.upload.ok[1m]) < 0.7",
            "for_seconds": 60,
            "on_fire": "rollback dmv-photo --to=prev",
            "notify": [],
            "labels": {},
            "runbook": None,
            "reading": None,
            "service": None,
        }
        self.assertEqual(body, expected)
        share, per_second = RULE["readings"]
        lines = ["alert `photo_error_spike` is in force", f"  read as {share}", f"  not as  {per_second}"]
        self.assertEqual(err.splitlines(), lines)

    def test_a_rule_over_a_metric_that_has_no_value_yet_is_not_read_yet(self):
        answer = dict(RULE, reading="undecided")
        with Tower(rule_answer=(200, answer)) as double, mock.patch("sys.stderr") as stderr:
            self.create(double.port)
        said = "".join(call.args[0] for call in stderr.write.call_args_list).splitlines()
        self.assertEqual(said[1:], [f"  may be  {reading}" for reading in RULE["readings"]])

    def test_all_that_can_be_said_of_a_rule_is_sent(self):
        answer = {"name": "a", "reading": None, "readings": [], "warnings": ["nobody knows `x`"], "changed": False}
        with Tower(rule_answer=(201, answer)) as double, mock.patch("sys.stderr") as stderr:
            alert = self.create(
                double.port, for_sec=1.5, notify="oncall@csac.gov", labels={"severity": "page"},
                runbook="runbooks/csac/LOGIN-DOWN.md", reading="per-second", service="x",
            )
            body = json.loads(double.bodies[0])
        self.assertEqual((alert.name, alert.reading, alert.changed), ("a", None, False))
        self.assertEqual(alert.warnings, ("nobody knows `x`",))
        said = "".join(call.args[0] for call in stderr.write.call_args_list)
        self.assertEqual(said, "alert `a` is unchanged\nwarning: nobody knows `x`\n")
        self.assertEqual((body["for_seconds"], body["labels"]), (1.5, {"severity": "page"}))
        self.assertEqual(body["notify"], ["oncall@csac.gov"])
        self.assertEqual((body["runbook"], body["reading"], body["service"]),
                         ("runbooks/csac/LOGIN-DOWN.md", "per-second", "x"))

    def test_a_refusal_is_said_in_the_towers_words(self):
        problem = {"title": "Invalid rule", "detail": "cannot read `b >`: expected a number", "hint": "write one"}
        with Tower(rule_answer=(422, problem)) as double, self.assertRaises(Error) as caught:
            self.create(double.port)
        error = caught.exception
        self.assertEqual((error.title, error.status, error.hint), ("Invalid rule", 422, "write one"))
        self.assertEqual(str(error), "cannot read `b >`: expected a number\nhint: write one")
        self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))

    def test_answers_of_something_else_are_no_success(self):
        for answer in ((200, "<html>"), (200, "[]"), (200, "3"), (404, "gone"), (302, "{}"), (500, "[" * 100000)):
            with self.subTest(answer[0]), Tower(rule_answer=answer) as double, self.assertRaises(Error):
                self.create(double.port)

    def test_without_a_tower_a_script_is_told_what_to_do(self):
        port = free_port()
        with self.assertRaises(Error) as caught:
            self.create(port)
        self.assertRegex(str(caught.exception), f"^cannot reach the tower at http://127.0.0.1:{port}: .*refused")
        self.assertIn("\nhint: `hmsops serve` starts one; HMSOPS_SERVER names another", str(caught.exception))

    def test_arguments_no_tower_would_take_are_refused_before_it_is_asked(self):
        for kind, wrong in (
            (ValueError, {"name": " "}), (TypeError, {"name": 1}), (TypeError, {"expr": None}),
            (ValueError, {"for_sec": -1}), (ValueError, {"for_sec": float("nan")}), (TypeError, {"for_sec": "60"}),
            (TypeError, {"on_fire": "rollback x"}), (TypeError, {"notify": [1]}), (TypeError, {"labels": {"a": 1}}),
            (ValueError, {"reading": ""}),
        ):
            with self.subTest(wrong), self.assertRaises(kind):
                self.create(1, **wrong)


class Healing(unittest.TestCase):
    def test_heals_are_values(self):
        heal = Heal(script="rollback dmv-photo --to=prev")
        self.assertEqual(heal, Heal("rollback dmv-photo --to=prev"))
        self.assertNotEqual(heal, Heal("restart dmv-photo"))
        self.assertNotEqual(heal, "rollback dmv-photo --to=prev")
        self.assertEqual(len({heal, Heal(heal.script)}), 1)
        self.assertEqual(repr(heal), "Heal(script='rollback dmv-photo --to=prev')")
        self.assertEqual(pickle.loads(pickle.dumps(heal)), heal)
        with self.assertRaises(AttributeError):
            heal.script = "restart x"

    def test_what_is_no_line_is_no_heal(self):
        self.assertEqual(Heal("é" * 512).script, "é" * 512)
        for wrong in ("", " ", "a\nb", "a\n", "a\rb", "\u2028a", "é" * 513):
            with self.subTest(wrong), self.assertRaises(ValueError):
                Heal(wrong)
        for wrong in (None, b"x", 1):
            with self.subTest(wrong), self.assertRaises(TypeError):
                Heal(wrong)


class Resolving(unittest.TestCase):
    FILE = """# mine
current: "a"
contexts:
  "a":
    server: "http://a:1"
    token: "ta"
  b:
    server: http://b:1/
    token: tb
  mine:
    server: "http://127.0.0.1:3000"
    token: ""
"""

    def resolve(self, text=None, token_file=None, **env):
        with tempfile.TemporaryDirectory() as folder:
            if text is not None:
                path = pathlib.Path(folder, "hmsops", "config.yaml")
                path.parent.mkdir()
                path.write_text(text, encoding="utf-8")
            if token_file is not None:
                pathlib.Path(folder, "admin.token").write_text(token_file)
            env = {"XDG_CONFIG_HOME": folder, "HMSOPS_DATA": folder, **env}
            with mock.patch.dict(os.environ, env, clear=True):
                return tower.resolve()

    def test_what_is_said_wins_and_tokens_stay_with_their_tower(self):
        for env, expected in (
            ({}, ("http://a:1", "ta")),
            ({"HMSOPS_SERVER": "http://b:1"}, ("http://b:1", "tb")),
            ({"HMSOPS_SERVER": "http://c:1"}, ("http://c:1", None)),
            ({"HMSOPS_SERVER": "http://c:1", "HMSOPS_TOKEN": "tc"}, ("http://c:1", "tc")),
            ({"HMSOPS_TOKEN": "other"}, ("http://a:1", "other")),
        ):
            self.assertEqual(self.resolve(self.FILE, **env), expected, env)
        self.assertEqual(self.resolve(), (tower.DEFAULT_SERVER, None))

    def test_the_data_folders_token_is_for_this_machine_only(self):
        whole = "hms_admin_" + "a" * 49
        self.assertEqual(self.resolve(token_file=whole + "\n"), (tower.DEFAULT_SERVER, whole))
        self.assertEqual(self.resolve(token_file=whole, HMSOPS_SERVER="http://localhost:1")[1], whole)
        self.assertEqual(self.resolve(self.FILE, whole, HMSOPS_SERVER="http://127.0.0.1:3000")[1], whole)
        self.assertIsNone(self.resolve(token_file=whole, HMSOPS_SERVER="http://tower:3000")[1])
        self.assertIsNone(self.resolve(token_file="torn", HMSOPS_SERVER="http://localhost:1")[1])

    def test_names_with_quotes_and_colons_are_read(self):
        name = 'lab: "one"'
        text = f"current: {json.dumps(name)}\ncontexts:\n  {json.dumps(name)}:\n    server: s\n    token: t\n    ca: c\n"
        self.assertEqual(contexts.parse(text).places[name], contexts.Place("s", "t", "c"))

    def test_a_wrong_line_is_named_with_its_file(self):
        wrongs = (("current", 1), ("current: a\nserver: b\n", 2), ("contexts:\n    server: x\n", 2), ('"a', 1))
        for text, line in wrongs:
            with self.assertRaisesRegex(Error, f"cannot use `.*config.yaml`: line {line}: .*\nhint: `hmsops login"):
                self.resolve(text)

    def test_addresses_are_read(self):
        for text, expected in (
            ("http://127.0.0.1:3000", ("127.0.0.1", 3000)),
            ("http://localhost/", ("localhost", 80)),
            ("http://[::1]:3000", ("::1", 3000)),
            ("https://tower", ("tower", 443)),
        ):
            self.assertEqual(tower.address(text), expected)
        for wrong in ("", "localhost:3000", "ftp://x", "http://", "http://a b", "http://u:p@h", "https://",
                      "http://a/b", "http://a:b", "http://a:0", "http://a?b"):
            with self.assertRaises(Error, msg=wrong):
                tower.address(wrong)


if __name__ == "__main__":
    unittest.main()
