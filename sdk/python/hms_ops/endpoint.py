"""Where emitted values go, as the environment says it."""

from __future__ import annotations

import os
from typing import Dict, Tuple

# Where a tower or an agent on this machine takes values.
DEFAULT = "127.0.0.1:4317"
DEFAULT_PORT = 4317


def parse(text: str) -> Tuple[str, int]:
    """`host:port`, `host`, `[v6]:port`, each also after `http://` or `https://`. Raises `ValueError`."""
    wrong = ValueError(f"HMSOPS_ENDPOINT is `{text}`, which is no address like {DEFAULT}")
    rest = text.strip()
    for scheme in ("http://", "https://"):
        if rest.startswith(scheme):
            rest = rest[len(scheme) :]
            break
    else:
        if "://" in rest:
            raise ValueError(f"HMSOPS_ENDPOINT is `{text}`; values are sent over HTTP only, write host:port")
    rest = rest.rstrip("/")
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise wrong
        port = port[1:]
    else:
        host, _, port = rest.partition(":")
    if not host or any(c in " /@:?#" for c in (host if "[" not in rest else "")):
        raise wrong
    if not port:
        return host, DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise wrong
    return host, int(port)


def address() -> Tuple[str, int]:
    """The host and port of `HMSOPS_ENDPOINT`. Raises `ValueError`."""
    return parse(os.environ.get("HMSOPS_ENDPOINT") or DEFAULT)


def is_tls() -> bool:
    """Whether values are sent over TLS."""
    return (os.environ.get("HMSOPS_ENDPOINT") or DEFAULT).strip().startswith("https://")


def ca() -> str:
    """By what the tower is recognised: a file, `sha256:…`, or empty for the authorities of this machine."""
    return os.environ.get("HMSOPS_CA", "").strip()


def headers() -> Dict[str, str]:
    """What is shown with each request."""
    token = os.environ.get("HMSOPS_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def labels() -> Dict[str, str]:
    """Labels of all values of this process; a service is discovered by its name here."""
    found = (("service", os.environ.get("HMS_SERVICE")), ("version", os.environ.get("HMS_VERSION")))
    # What is no UTF-8 in the environment is none in JSON either.
    return {name: value.encode("utf-8", "replace").decode() for name, value in found if value}
