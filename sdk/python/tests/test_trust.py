"""By what a tower is recognised, without one."""

import socket
import unittest

from hms_ops import trust


class Fingerprints(unittest.TestCase):
    def test_they_are_read_as_they_are_printed(self):
        digits = "ab" * 32
        colons = ":".join(["AB"] * 32)
        for text in (digits, f"sha256:{digits}", colons, f"sha256:{colons}", f" {digits}\n"):
            self.assertEqual(trust.pin(text), digits, text)
        for text in ("", "ca.pem", "sha256:", f"sha256:{digits}0", digits[:-1], "/etc/ssl/cert.pem"):
            self.assertIsNone(trust.pin(text), text)

    def test_a_wrong_one_or_no_file_is_said_before_anything_is_sent(self):
        def connect() -> socket.socket:
            raise AssertionError("nobody is to be asked")

        for ca, said in (("sha256:12", "is no fingerprint"), ("/no/such.pem", "cannot read certificates from")):
            with self.assertRaisesRegex(OSError, said):
                trust.secure(connect, "tower", ca)


if __name__ == "__main__":
    unittest.main()
