"""What is written, to terminals and to others."""

from __future__ import annotations

import io
import json

import pytest

from kvpaxos.cli.output import json_line, print_json, print_value, visible
from kvpaxos.client.requests import member


class Stdout:
    """Standard output."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        self.buffer = io.BytesIO()
        self.encoding = encoding
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def printed(
    monkeypatch: pytest.MonkeyPatch, value: bytes | None, words: str, *, encoding: str = "utf-8"
) -> tuple[bytes, bytes]:
    """Return what a terminal gets, and what anything else gets."""
    outputs = []
    for terminal in (True, False):
        output = Stdout(terminal=terminal, encoding=encoding)
        monkeypatch.setattr("sys.stdout", output)
        print_value(value, words)
        outputs.append(output.buffer.getvalue())
    return outputs[0], outputs[1]


def test_a_terminal_gets_words_and_a_line_and_a_file_gets_the_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert printed(monkeypatch, b"blue", "{}") == (b"blue\n", b"blue")
    assert printed(monkeypatch, b"blue", "updated; it held: {}") == (
        b"updated; it held: blue\n",
        b"blue",
    )
    assert printed(monkeypatch, None, "updated; it held: {}") == (b"updated\n", b"")
    assert printed(monkeypatch, None, "set") == (b"set\n", b"")
    assert printed(monkeypatch, b"", "{}") == (b"\n", b"")


def test_braces_in_a_value_are_nothing_special(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, b"{}{0}", "{}") == (b"{}{0}\n", b"{}{0}")


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é键".encode()
    assert printed(monkeypatch, text, "{}", encoding="ascii") == (b"\\xe9\\u952e\n", text)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"two\n\tlines", "two\n\tlines"),
        (b"\x1b[2J\x07", "\\x1b[2J\\x07"),
        (b"\0\r\x7f", "\\x00\\x0d\\x7f"),
        (b"\xc2\x9b1m", "\\x9b1m"),
        (b"\xff", "\\xff"),
        ("🔑".encode(), "🔑"),
    ],
)
def test_what_a_terminal_might_obey_is_made_visible(raw: bytes, shown: str) -> None:
    assert visible(raw) == shown


def test_json_is_one_line_of_utf8_whatever_the_terminal_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = Stdout(terminal=True, encoding="ascii")
    monkeypatch.setattr("sys.stdout", output)
    print_json({"key": "键\n", "n": 1})
    assert output.buffer.getvalue() == '{"key":"键\\n","n":1}\n'.encode()


def test_a_member_is_text_or_base64() -> None:
    assert member("value", b"blue") == {"value": "blue"}
    assert member("value", b"\xff\0") == {"value_base64": "/wA="}


def test_what_has_no_bytes_in_utf8_does_not_stop_a_line() -> None:
    assert json.loads(json_line({"file": "\udcff"})) == {"file": "?"}
