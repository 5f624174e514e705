"""What commands take: bytes as they are, spans of time, values from standard input."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kvpaxos.cli.arguments import VALUE_BYTES_MAX, Asked, Bytes, Seconds, asks, read_value
from kvpaxos.errors import TooLarge


@click.command()
@asks(timeout_s=7.0)
@click.argument("key", type=Bytes())
def show(asked: Asked, key: bytes) -> None:
    """Print what it was given."""
    click.echo(repr((asked, key)))


def given(*arguments: str) -> str:
    return CliRunner().invoke(show, arguments).output.rstrip("\n")


def test_the_options_make_up_what_is_asked() -> None:
    plain = Asked(nodes=(), settings=None, timeout_s=7.0, as_json=False)
    assert given("k") == repr((plain, b"k"))
    asked = Asked(nodes=("a,b", "c"), settings=None, timeout_s=0.5, as_json=True)
    options = ["--nodes", "a,b", "--url", "c", "--timeout", "0.5", "--json"]
    assert given(*options, "k") == repr((asked, b"k"))
    for option in ("--settings", "--config"):
        assert given(option, "s.conf", "k") == repr((replace(plain, settings="s.conf"), b"k"))


@pytest.mark.parametrize("raw", [b"plain", "键".encode(), b"\xff\x80", b" \n\"'", b""])
def test_an_argument_is_the_very_bytes_that_were_given(raw: bytes) -> None:
    # As Python hands bytes that are no text to a program.
    given = raw.decode(errors="surrogateescape")
    assert Bytes().convert(given, None, None) == raw


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "3601", "soon", ""])
def test_a_span_that_is_none_is_refused(text: str) -> None:
    done = CliRunner().invoke(show, ["--timeout", text, "k"])
    assert done.exit_code == 2
    rule = f'"{text}" is no time: give a number of seconds above 0 and at most 3600.'
    assert done.stderr.endswith(f"Error: Invalid value for '--timeout': {rule}\n")


@pytest.mark.parametrize(("text", "seconds"), [("0.001", 0.001), ("3600", 3600.0), ("1e1", 10.0)])
def test_a_span_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


class Stdin:
    """Standard input."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize(
    ("given", "value"), [(b"blue", b"blue"), (b"", b""), (b"-", b"in\0put\n"), (b"--", b"--")]
)
def test_a_dash_stands_for_standard_input(
    given: bytes, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b"in\0put\n"))
    assert read_value(given) == value


def test_a_value_that_no_cluster_takes_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin: Any = Stdin(b"x" * (VALUE_BYTES_MAX + 100))
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(TooLarge, match=f"has more than {VALUE_BYTES_MAX} bytes, .*not.* changed"):
        read_value(b"-")
    assert stdin.buffer.tell() == VALUE_BYTES_MAX + 1
    monkeypatch.setattr("sys.stdin", Stdin(b"x" * VALUE_BYTES_MAX))
    assert len(read_value(b"-")) == VALUE_BYTES_MAX
