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
    shown = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    link = Link(host, port, CONNECT_WITHIN, ANSWER_WITHIN)
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
    if server.startswith("https://"):
        raise Error(
            f"cannot speak with `{server}`: https is not built yet",
            "use http:// to a tower on this machine, or through a tunnel",
        )
    wrong = Error(f"`{server}` is not the address of a tower", "write it as http://127.0.0.1:3000")
    try:
        parts = urllib.parse.urlsplit(server)
        port = 80 if parts.port is None else parts.port
    except ValueError:
        raise wrong from None
    is_bare = not parts.path.strip("/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme != "http" or not parts.hostname or not is_bare or re.search(r"\s", server) or port == 0:
        raise wrong
    return parts.hostname, port


def _is_local(server: str) -> bool:
    try:
        return urllib.parse.urlsplit(server).hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return False


def _admin_token() -> str:
    folder = os.environ.get("HMSOPS_DATA") or "hmsops-data"
    try:
        token = pathlib.Path(folder, "admin.token").read_text(encoding="ascii").strip()
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
