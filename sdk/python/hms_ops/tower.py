"""Which tower is meant, with which token, and one request to it."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import urllib.parse
from typing import Any, Dict, Optional, Tuple

from . import contexts
from .error import Error
from .link import Answer, Link

# Where a tower listens that was told nothing else.
DEFAULT_SERVER = "http://127.0.0.1:3000"
# A tower on this network answers at once or not at all, and every request within 30 s.
CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 35.0

_ADMIN_TOKEN = re.compile(r"hms_admin_[0-9A-Za-z]{49}")


def post(path: str, body: Dict[str, Any]) -> Any:
    """Asks for a change; answers the decoded JSON. Raises `Error`."""
    server, token = resolve()
    host, port = address(server)
    is_tls = server.startswith("https://")
    shown = f"http{'s' if is_tls else ''}://" + (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    link = Link(host, port, CONNECT_WITHIN, ANSWER_WITHIN, _ca(server) if is_tls else None)
    try:
        answer = link.post(path, json.dumps(body, allow_nan=False).encode(), headers)
    except (OSError, http.client.HTTPException) as error:
        raise Error(
            f"cannot reach the tower at {shown}: {error or type(error).__name__}",
            "`hmsops serve` starts one; HMSOPS_SERVER names another",
        ) from error
    except ValueError as error:
        raise Error("the token holds what cannot be sent", "look at HMSOPS_TOKEN, or log in again") from error
    finally:
        link.close()
    return _read(answer, shown)


def resolve() -> Tuple[str, Optional[str]]:
    """The server as the environment, the current context or the default says it, and a token of that tower's."""
    known = contexts.read()
    current = known.places.get(known.current, contexts.Place())
    server = os.environ.get("HMSOPS_SERVER") or current.server or DEFAULT_SERVER
    token = os.environ.get("HMSOPS_TOKEN", "").strip()
    for place in (current, *known.places.values()):
        # A token is only ever shown to the tower it belongs to.
        if not token and place.server.rstrip("/") == server.rstrip("/"):
            token = place.token
    if not token and _is_local(server):
        token = _admin_token()
    return server, token or None


def address(server: str) -> Tuple[str, int]:
    """Host and port of a tower's address. Raises `Error`."""
    wrong = Error(f"`{server}` is not the address of a tower", "write it as http://127.0.0.1:3000")
    try:
        parts = urllib.parse.urlsplit(server)
        usual = 443 if parts.scheme == "https" else 80
        port = usual if parts.port is None else parts.port
    except ValueError:
        raise wrong from None
    is_bare = not parts.path.strip("/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare or re.search(r"\s", server) or port == 0:
        raise wrong
    return parts.hostname, port


def _is_local(server: str) -> bool:
    try:
        return urllib.parse.urlsplit(server).hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return False


def _ca(server: str) -> str:
    """By what a tower is recognised: as the environment says, its context, or its data folder here."""
    known = contexts.read()
    asked = os.environ.get("HMSOPS_CA", "").strip()
    for place in known.places.values():
        if not asked and place.server.rstrip("/") == server.rstrip("/"):
            asked = place.ca
    served = pathlib.Path(_folder(), "tls", "served.pem")
    return asked or (str(served) if _is_local(server) and served.is_file() else "")


def _folder() -> str:
    return os.environ.get("HMSOPS_DATA") or "hmsops-data"


def _admin_token() -> str:
    try:
        token = pathlib.Path(_folder(), "admin.token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return token if _ADMIN_TOKEN.fullmatch(token) else ""


def _read(answer: Answer, shown: str) -> Any:
    try:
        decoded = json.loads(answer.body)
    except (ValueError, RecursionError):
        decoded = None
    if answer.status in (200, 201):
        if decoded is None:
            raise Error(f"cannot read what {shown} answered", "is it a tower, and as new as this package?")
        return decoded
    media = answer.headers.get("Content-Type", "")
    if media.startswith("application/problem+json") and isinstance(decoded, dict):
        title = str(decoded.get("title") or "")
        detail = str(decoded.get("detail") or title or f"{shown} answered {answer.status}")
        hint = decoded.get("hint")
        raise Error(detail, str(hint) if hint else None, title, answer.status)
    raise Error(
        f"{shown} answered {answer.status} {http.client.responses.get(answer.status, '')}".rstrip(),
        "is it a tower? HMSOPS_SERVER names another",
        status=answer.status,
    )
