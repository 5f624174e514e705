"""What commands write to standard output."""

from __future__ import annotations

import json
import re
import sys
from typing import Final

# Made once: json.dumps would make one for each line that is not plain ASCII.
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal might obey instead of showing it."""


def counted(number: int, thing: str) -> str:
    """Return how many of a ``thing`` there are, in words for people."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def json_line(value: object) -> bytes:
    """Return ``value`` as one line of JSON in UTF-8, with its end."""
    # Only what the operating system gave, such as a file's name, can hold what UTF-8 cannot.
    return _encode(value).encode(errors="replace") + b"\n"


def visible(raw: bytes) -> str:
    """Return ``raw`` as a terminal may show it: bytes that are no text, and controls, escaped."""
    text = raw.decode(errors="backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def print_json(value: object) -> None:
    """Write ``value`` as one line of JSON, in UTF-8 whatever the terminal speaks."""
    sys.stdout.buffer.write(json_line(value))


def print_line(line: str) -> None:
    """Write a line of text."""
    print(line)  # noqa: T201 -- it is what was asked for


def print_value(value: bytes | None, words: str) -> None:
    """Write ``value``: to a terminal as text in the place of ``{}``, elsewhere its very bytes.

    Where there is no value, a terminal is shown the first of the words.
    """
    if sys.stdout.isatty():
        line = words.partition(";")[0] if value is None else words.format(visible(value))
        sys.stdout.buffer.write(line.encode(sys.stdout.encoding, errors="backslashreplace") + b"\n")
    elif value is not None:
        sys.stdout.buffer.write(value)
