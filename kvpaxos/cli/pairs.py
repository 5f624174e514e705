"""Pairs as JSON lines: what ``kvpaxos dump`` writes and ``kvpaxos load`` reads. Pure.

A line is an object with ``key`` and ``value``. What is not UTF-8 stands in base64, as
``key_base64`` or ``value_base64``. Equal pairs make equal lines, byte for byte.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as NotBase64
from typing import Any, Final

from kvpaxos.cli.output import json_line
from kvpaxos.client.requests import member

_EXAMPLE: Final = '{"key":"color","value":"blue"}'

_NAMES: Final = frozenset({"key", "key_base64", "value", "value_base64"})


class BadLine(ValueError):
    """A line is no pair. The message says what is wrong with it, and how to mend it."""


def pair_line(key: bytes, value: bytes) -> bytes:
    """Return a pair as a line, with its end."""
    return json_line(member("key", key) | member("value", value))


def read_pair(line: bytes) -> tuple[bytes, bytes]:
    """Return the pair in ``line``.

    :raises BadLine: there is none.
    """
    try:
        members = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadLine(
            f"byte {error.start + 1} is not UTF-8; write what is no text as key_base64 or"
            " value_base64"
        ) from None
    except json.JSONDecodeError as error:
        raise _wrong(f"it is no JSON from column {error.colno} on") from None
    except RecursionError:
        raise _wrong("it is nested too deep") from None
    if not isinstance(members, dict):
        raise _wrong("it is no object")
    unknown = members.keys() - _NAMES
    if unknown:
        raise BadLine(f'"{min(unknown)}" is no member of a pair; leave it out')
    key, value = _bytes(members, "key"), _bytes(members, "value")
    if not key:
        raise BadLine("the key is empty; give it one byte or more")
    return key, value


def _bytes(members: dict[str, Any], name: str) -> bytes:
    """Return what the member ``name`` says, be it as text or in base64; null is not there."""
    text, encoded = members.get(name), members.get(f"{name}_base64")
    if (text is None) == (encoded is None):
        there = "missing" if text is None else "there twice, as text and in base64"
        raise _wrong(f"the {name} is {there}")
    if text is not None:
        return _utf8(text, name)
    try:
        return b64decode(_utf8(encoded, name), validate=True)
    except NotBase64 as error:
        raise BadLine(f"{name}_base64 is no base64 ({error}); encode the bytes again") from None


def _utf8(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise BadLine(f'the {name} is no text; put it between quotes: "{text}"')
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadLine(
            f"the {name} holds half of a surrogate pair; write its bytes as {name}_base64"
        ) from None


def _wrong(what: str) -> BadLine:
    return BadLine(f"{what}; write one object a line, such as {_EXAMPLE}")
