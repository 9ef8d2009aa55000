"""Values are added up exactly, and what waits is bounded, merged before it is lost, and numbered once."""

import json
import random
import threading
import unittest

import tower_double  # noqa: F401  puts the package on the path
from hms_ops import endpoint
from hms_ops.outbox import (
    BATCH_TALLIES_MAX,
    MERGED_SPAN_MS,
    PAUSE_MAX,
    RETRY_AFTER_MAX,
    WAITING_MAX,
    Outbox,
)
from hms_ops.table import IDLE_MS, RETIRED_FOLDS, VALUES_MAX, Table, Tally


def tally(name="a", value=1.0, time=0):
    return Tally((name, ()), time, (value, 1, value, value, value))


def metrics(batch):
    return json.loads(batch.body)["metrics"]


class Folding(unittest.TestCase):
    def test_tallies_hold_what_the_values_say(self):
        chance = random.Random(7)
        for _ in range(300):
            table = Table()
            kinds = [0, 1, True, -2.5, 1e300, chance.random()]
            values = [chance.choice(kinds) for _ in range(chance.randrange(1, 600))]
            for value in values:
                table.add("a", value, None)
            (found,) = table.fold(5)
            self.assertEqual((found.count, found.min, found.max), (len(values), min(values), max(values)))
            self.assertEqual((found.last, found.time, found.since), (values[-1], 5, 5))
            self.assertAlmostEqual(found.sum / max(1.0, abs(sum(values))), sum(values) / max(1.0, abs(sum(values))))
            self.assertEqual(table.fold(6), [])

    def test_a_sum_past_all_floats_is_infinite_and_a_number_past_them_is_none(self):
        table = Table()
        for value in (1e308, 1e308, 10**309):
            table.add("a", value, None)
        (found,) = table.fold(1)
        self.assertEqual((found.sum, found.count, table.dropped()), (float("inf"), 2, 1))

    def test_a_series_left_alone_makes_room_and_a_late_value_still_counts(self):
        table = Table()
        table.add("a", 1, None)
        held = table.cells["a"]
        self.assertEqual(len(table.fold(0)), 1)
        table.fold(IDLE_MS + 1)
        self.assertEqual(table.cells, {})
        # A caller had looked the list up before it was taken out.
        held.append(2)
        table.add("a", 3, None)
        (found,) = table.fold(IDLE_MS + 2)
        self.assertEqual((found.sum, found.count), (5, 2))
        for _ in range(RETIRED_FOLDS):
            table.fold(IDLE_MS + 3)
        self.assertEqual(table._retired, [])

    def test_while_another_folds_nobody_waits_and_nothing_is_lost(self):
        table = Table()
        with table._lock:
            adding = threading.Thread(target=lambda: [table.add("a", 1, None) for _ in range(4 * VALUES_MAX)])
            adding.start()
            adding.join(tower_double.PATIENCE)
            self.assertFalse(adding.is_alive())
        self.assertEqual((table.fold(0)[0].count, table.dropped()), (4 * VALUES_MAX, 0))

    def test_a_value_that_comes_while_a_list_is_emptied_is_in_the_next_tally(self):
        class Interrupted(list):
            def __getitem__(self, index):
                taken = super().__getitem__(index)
                self.append(10)
                return taken

        table = Table()
        table.cells["a"] = Interrupted([1, 2])
        first, second = table.fold(0), table.fold(1)
        self.assertEqual([first[0].sum, first[0].count, second[0].sum, second[0].count], [3, 2, 10, 1])

    def test_drops_are_counted_by_looking_as_often_as_one_likes(self):
        table = Table()
        for expected in range(5):
            self.assertEqual([table.dropped(), table.dropped()], [expected, expected])
            table.drop("why")
        table.lose(10, "more")
        self.assertEqual((table.dropped(), table.why), (15, "more"))


class Keeping(unittest.TestCase):
    def outbox(self):
        return Outbox("0" * 32, {"service": "x"})

    def test_a_batch_stays_the_same_until_it_is_done_with(self):
        outbox = self.outbox()
        self.assertIsNone(outbox.batch(0))
        outbox.put([tally()])
        first = outbox.batch(3)
        outbox.put([tally("b")])
        outbox.fail(0.0, 0.5)
        self.assertIs(outbox.batch(9), first)
        self.assertEqual((first.sequence, json.loads(first.body)["dropped"], outbox.waiting()), (1, 3, 2))
        self.assertEqual(outbox.close(), 1)
        self.assertEqual(outbox.batch(9).sequence, 2)
        self.assertEqual((outbox.close(), outbox.is_empty(), outbox.waiting()), (1, True, 0))

    def test_a_batch_holds_so_many_tallies(self):
        outbox = self.outbox()
        outbox.put(tally(str(n)) for n in range(BATCH_TALLIES_MAX + 1))
        self.assertEqual(len(metrics(outbox.batch(0))), BATCH_TALLIES_MAX)
        outbox.close()
        self.assertEqual(len(metrics(outbox.batch(0))), 1)

    def test_without_room_seconds_become_minutes_before_anything_is_lost(self):
        outbox = self.outbox()
        lost = sum(outbox.put([tally(time=second * 1000)]) for second in range(10 * WAITING_MAX))
        self.assertEqual((lost, outbox.waiting()), (0, 10 * WAITING_MAX))
        self.assertLessEqual(len(outbox._tallies), WAITING_MAX)
        count, last = 0, -1
        while not outbox.is_empty():
            for metric in metrics(outbox.batch(0)):
                self.assertGreater(metric["time"], last)
                self.assertLessEqual(metric["count"], MERGED_SPAN_MS // 1000 + 1)
                last = metric["time"]
                count += metric["count"]
            outbox.close()
        self.assertEqual(count, 10 * WAITING_MAX)

    def test_what_cannot_be_merged_goes_oldest_first_and_is_counted(self):
        outbox = self.outbox()
        lost = sum(outbox.put([tally(str(n), time=n)]) for n in range(WAITING_MAX + 7))
        self.assertEqual((lost, outbox.waiting()), (7, WAITING_MAX))
        self.assertEqual(metrics(outbox.batch(0))[0]["name"], "7")

    def test_pauses_grow_to_a_limit_and_a_tower_may_ask_for_longer_ones(self):
        outbox = self.outbox()
        outbox.put([tally()])
        pauses = []
        for _ in range(2000):
            outbox.fail(100.0, 0.999)
            pauses.append(outbox.retry_at - 100.0)
        self.assertEqual(pauses, sorted(pauses))
        self.assertLess(pauses[0], 0.26)
        self.assertAlmostEqual(pauses[-1], PAUSE_MAX, 1)
        outbox.fail(0.0, 0.0, 1e9)
        self.assertEqual(outbox.retry_at, RETRY_AFTER_MAX)
        outbox.close()
        self.assertEqual(outbox.retry_at, 0.0)


class Addressing(unittest.TestCase):
    def test_endpoints_are_read(self):
        for text, expected in (
            ("127.0.0.1:4317", ("127.0.0.1", 4317)),
            ("http://tower/", ("tower", 4317)),
            ("[::1]:80", ("::1", 80)),
            ("http://[::1]", ("::1", 4317)),
            ("https://tower:4318", ("tower", 4318)),
        ):
            self.assertEqual(endpoint.parse(text), expected)
        for wrong in (
            "ftp://a", "a:b", "", ":1", "a:0", "a:65536", "a b", "u@h", "[::1", "[::1]x", "a/b", "[]", "a:٣",
        ):
            with self.assertRaises(ValueError, msg=wrong):
                endpoint.parse(wrong)


if __name__ == "__main__":
    unittest.main()
