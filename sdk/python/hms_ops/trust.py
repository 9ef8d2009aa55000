"""By what a tower with TLS is recognised: the authorities of this machine, a file of certificates, or a fingerprint."""

from __future__ import annotations

import hashlib
import re
import socket
from typing import Callable, Dict, Optional

try:
    import ssl
except ImportError:  # a Python without OpenSSL speaks in clear only
    ssl = None  # type: ignore[assignment]

# Where a tower shows the certificate that it is recognised by, and what is read of the answer at most, in bytes.
CA_PATH = "/-/ca.crt"
CA_BYTES_MAX = 64 << 10

# OpenSSL's X509_V_FLAG_PARTIAL_CHAIN: a file may hold the tower's own certificate in place of an authority's.
_PARTIAL_CHAIN = 0x80000
# OpenSSL's words for a certificate that is good and for another name or address (X509_V_ERR_…_MISMATCH).
_OTHER_NAME = (62, 64)

_PIN = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")

# Authorities that were asked for, by their fingerprint.
_asked: Dict[str, str] = {}


def pin(text: str) -> Optional[str]:
    """The digits of a fingerprint, with or without `sha256:` and colons; `None`: it is none."""
    head, _, rest = text.strip().partition("sha256:")
    found = _PIN.fullmatch((rest or head).replace(":", ""))
    return found.group(1).lower() if found else None


def secure(connect: Callable[[], socket.socket], host: str, ca: str) -> socket.socket:
    """A connection to `host` that is encrypted, and with no one else. `ca`: a file, `sha256:…`, or empty for the
    authorities of this machine. Raises `OSError`."""
    if ssl is None:
        raise OSError("this Python has no ssl module, and the tower speaks TLS")
    wanted = pin(ca)
    if wanted is not None:
        return _by_pin(connect, host, wanted)
    if ca.startswith("sha256:"):
        raise OSError("HMSOPS_CA is no fingerprint: it is `sha256:` and 64 digits")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ValueError) as error:
        raise OSError(f"cannot read certificates from `{ca}`: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        context.verify_flags |= _PARTIAL_CHAIN  # type: ignore[operator]
    try:
        return _wrapped(context, connect, host)
    except ssl.SSLCertVerificationError as error:
        if not ca or error.verify_code not in _OTHER_NAME:
            raise
        # The very certificate of the file: its name says no more.
        context.check_hostname = False
        sock = _wrapped(context, connect, host)
        if _fingerprint(sock) in _of_file(ca):
            return sock
        sock.close()
        raise


def _wrapped(context: "ssl.SSLContext", connect: Callable[[], socket.socket], host: str) -> "ssl.SSLSocket":
    raw = connect()
    try:
        return context.wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _by_pin(connect: Callable[[], socket.socket], host: str, wanted: str) -> "ssl.SSLSocket":
    if wanted not in _asked:
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.minimum_version = ssl.TLSVersion.TLSv1_2
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        sock = _wrapped(blind, connect, host)
        if _fingerprint(sock) == wanted:
            return sock
        # Nothing of ours was sent yet, and what is answered is believed only when it is what we know.
        try:
            authority = _ask(sock, host)
        finally:
            sock.close()
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority)).hexdigest() if authority else "nothing"
        if found != wanted:
            raise OSError(f"the tower should be recognised by sha256:{wanted}, and shows {found}")
        _asked[wanted] = authority
    context = ssl.create_default_context(cadata=_asked[wanted])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return _wrapped(context, connect, host)


def _ask(sock: "ssl.SSLSocket", host: str) -> str:
    """The certificate that whoever is there says it is recognised by, PEM; empty when there is none."""
    name = f"[{host}]" if ":" in host else host
    sock.sendall(f"GET {CA_PATH} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while len(answer) < CA_BYTES_MAX:
        part = sock.recv(4096)
        if not part:
            break
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    text = body.decode("ascii", "replace").strip()
    is_one = head.split(b" ")[1:2] == [b"200"] and text.startswith(ssl.PEM_HEADER) and text.endswith(ssl.PEM_FOOTER)
    return text + "\n" if is_one else ""


def _fingerprint(sock: "ssl.SSLSocket") -> str:
    return hashlib.sha256(sock.getpeercert(True) or b"").hexdigest()


def _of_file(path: str) -> "list[str]":
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read(4 << 20)
    blocks = re.findall(f"{ssl.PEM_HEADER}.*?{ssl.PEM_FOOTER}", text, re.DOTALL)
    return [hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest() for block in blocks]
