"""Towers a person has logged in to with `hmsops login`: the simple form of YAML that the command writes."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Dict, NamedTuple, Optional, Tuple

from .error import Error


class Place(NamedTuple):
    """Where a tower is, what is shown to it, and by what it is recognised."""

    server: str = ""
    token: str = ""
    ca: str = ""


class Contexts(NamedTuple):
    """Towers by name, and which one is meant."""

    current: str
    places: Dict[str, Place]


def read() -> Contexts:
    """What is in `config.yaml`; nothing when there is none. Raises `Error`."""
    path = _path()
    if path is None:
        return Contexts("", {})
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Contexts("", {})
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)) from error
    try:
        return parse(text)
    except ValueError as error:
        raise _wrong(path, str(error)) from error


def parse(text: str) -> Contexts:
    """Reads the file's text; the `ValueError` names the line."""
    current = ""
    places: Dict[str, Place] = {}
    name: Optional[str] = None
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip(" "))
        key, value = _pair(content, number)
        if indent == 0 and key == "current":
            current = value
        elif indent == 0 and key == "contexts" and not value:
            name = None
        elif indent == 2 and not value:
            places[key] = Place()
            name = key
        elif indent == 4 and key in ("server", "token", "ca") and name is not None:
            places[name] = places[name]._replace(**{key: value})
        else:
            raise ValueError(f"line {number}: expected `current`, or `server`, `token` and `ca` of a context")
    return Contexts(current, places)


def _pair(line: str, number: int) -> Tuple[str, str]:
    """`key: value`, each bare or in double quotes."""
    decoder = json.JSONDecoder()
    try:
        if line.startswith('"'):
            key, end = decoder.raw_decode(line)
            rest = line[end:].lstrip()
            if not rest.startswith(":"):
                raise ValueError
            value = rest[1:].strip()
        else:
            key, colon, value = line.partition(":")
            key, value = key.strip(), value.strip()
            if not colon:
                raise ValueError
        return key, json.loads(value) if value.startswith('"') else value
    except ValueError:
        raise ValueError(f"line {number}: expected `key: value`") from None


def _path() -> Optional[pathlib.Path]:
    base = os.environ.get("XDG_CONFIG_HOME")
    if base:
        return pathlib.Path(base, "hmsops", "config.yaml")
    home = os.environ.get("HOME")
    return pathlib.Path(home, ".config", "hmsops", "config.yaml") if home else None


def _wrong(path: pathlib.Path, what: str) -> Error:
    return Error(
        f"cannot use `{path}`: {what}",
        "`hmsops login --server URL --token TOKEN` writes it anew once it is removed",
    )
