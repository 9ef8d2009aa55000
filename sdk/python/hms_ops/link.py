"""One kept-alive HTTP/1.1 connection, with a limit in time for a whole answer and a limit for its size.

Straight to the host that is named: proxy variables of the environment are for other hosts than a tower's.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import time
from typing import Any, Dict, NamedTuple, Optional

from . import trust

# What is read of an answer at most, in bytes.
ANSWER_BYTES_MAX = 1 << 20

# Marks of a connection that the other side closed while it was idle.
_STALE = (http.client.RemoteDisconnected, ConnectionError)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Any
    body: bytes


class Link:
    """A connection to one host, opened when it is needed. For one thread."""

    def __init__(
        self, host: str, port: int, connect_within: float, answer_within: float, ca: Optional[str] = None
    ) -> None:
        """`ca`: by what the host is recognised over TLS, as `trust.secure` takes it; `None`: in clear."""
        self.host = host
        self.port = port
        self.connect_within = connect_within
        self.answer_within = answer_within
        self.ca = ca
        self._connection: Optional[_Connection] = None

    def post(self, path: str, body: bytes, headers: Dict[str, str]) -> Answer:
        """Sends JSON. Raises `OSError` or `http.client.HTTPException`; then it may or may not have arrived."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                return self._exchange(connection, path, body, headers)
            except _STALE:
                self.close()
        connection = self._connection = _Connection(self)
        return self._exchange(connection, path, body, headers)

    def close(self) -> None:
        """Ends the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """In the child of a fork: lets go of the parent's socket without a lock and without a word to the host."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None and connection.raw is not None:
                descriptor = connection.raw.detach()
                if descriptor >= 0:
                    os.close(descriptor)
        except OSError:
            pass

    def _exchange(self, connection: _Connection, path: str, body: bytes, headers: Dict[str, str]) -> Answer:
        try:
            if connection.sock is None:
                connection.connect()
            connection.deadline = time.monotonic() + self.answer_within
            connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX + 1)
            if len(text) > ANSWER_BYTES_MAX:
                raise http.client.HTTPException(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
            if not response.isclosed():
                # Something is left of the body: the connection is of no more use.
                self.close()
            return Answer(response.status, response.headers, text)
        except BaseException:
            connection.close()
            raise


class _Connection(http.client.HTTPConnection):
    def __init__(self, link: Link) -> None:
        super().__init__(link.host, link.port, timeout=link.connect_within)
        self.ca = link.ca
        self.deadline = 0.0
        self.raw: Optional[socket.socket] = None

    def connect(self) -> None:
        # As bytes: a text would be looked up through a codec that is imported at that moment, and a child forked
        # by another thread just then would wait for that import for ever.
        host: Any = self.host.encode() if self.host.isascii() else self.host
        def connected() -> socket.socket:
            raw = socket.create_connection((host, self.port), self.timeout)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return raw

        self.raw = connected() if self.ca is None else trust.secure(connected, self.host, self.ca)
        self.sock: Any = _Timed(self.raw, self)


class _Timed:
    """A socket whose every step ends by the connection's deadline; a socket's own limit is for each step anew."""

    def __init__(self, sock: socket.socket, connection: _Connection) -> None:
        self._sock = sock
        self._connection = connection

    def limit(self) -> None:
        left = self._connection.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._sock.settimeout(left)

    def sendall(self, data: bytes) -> None:
        self.limit()
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self, self._sock.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed, raw: Any) -> None:
        self._timed = timed
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._timed.limit()
        count: int = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
