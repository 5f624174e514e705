"""What must hold for any bytes that a peer or a journal can show; and a fuzzer that looks for more.

As a script it needs atheris (``pip install atheris``), begins with some true bytes, and finds by
coverage what no chance would::

    python -m test.wire.fuzz_codec -max_total_time=60

Tests run the same checks on mutations of true bytes: see `test_fuzz_codec`.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, Final, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from kvpaxos.errors import WireError
from kvpaxos.wire.codec import MESSAGES as MESSAGE_KINDS
from kvpaxos.wire.codec import decode, decode_record, encode, encode_record
from kvpaxos.wire.framing import HEADER_BYTES, FrameBuffer, frame
from kvpaxos.wire.greeting import decode_frame, encode_greeting
from test.wire.strategies import MESSAGES, RECORDS
from test.wire.test_greeting import STRATEGIES as GREETINGS

T = TypeVar("T")

MESSAGE_CLASSES: Final = frozenset(kind.make for kind in MESSAGE_KINDS)
FRAME_BYTES_MAX: Final = 4096
"""Few bytes will do here, and then lies about lengths are more often near the limit."""

REFUSAL_MAX: Final = 200
"""Longer sentences are too long for a log."""


def examples(strategy: st.SearchStrategy[T], write: Callable[[T], bytes]) -> list[bytes]:
    """Return a few values of ``strategy``, written."""
    written: list[bytes] = []

    @settings(max_examples=8, database=None, derandomize=True)
    @given(strategy)
    def collect(value: T) -> None:
        written.append(write(value))

    collect()
    return written


def true_bytes() -> list[bytes]:
    """Return some bytes of each message, greeting and record."""
    return [
        *(one for make in MESSAGES.values() for one in examples(make, lambda it: encode(0, it))),
        *(one for make in GREETINGS.values() for one in examples(make, encode_greeting)),
        *(
            one
            for make in RECORDS.values()
            for one in examples(make, lambda it: encode_record(1, it))
        ),
    ]


def check(data: bytes) -> bool:
    """Fail unless each decoder either refuses ``data`` or can write what it made of it.

    :returns: whether any of them took it.
    """
    taken = [
        _check(data, decode, encode),
        _check(data, decode_record, encode_record),
        _check(data, decode_frame, _encode_frame),
    ]
    return any(taken)


def check_stream(data: bytes, pieces: int) -> None:
    """Fail unless a stream in ``pieces`` shows what it shows in one, and little of it is kept."""
    whole = _frames([data])
    size = max(len(data) // pieces, 1)
    chopped = _frames([data[at : at + size] for at in range(0, len(data), size)])
    assert whole == chopped, "how bytes arrive makes a difference"
    framed = _frames([frame(data[:FRAME_BYTES_MAX])])
    assert framed == ([data[:FRAME_BYTES_MAX]], None), "a true frame is refused"


def _check(
    data: bytes,
    read: Callable[[bytes], tuple[int, Any]],
    write: Callable[[int, Any], bytes],
) -> bool:
    try:
        group, value = read(data)
    except WireError as error:
        if len(str(error)) > REFUSAL_MAX:
            raise AssertionError(f"a refusal of {len(str(error))} characters") from error
        return False
    written = write(group, value)
    # Not the values: they may hold a float that equals nothing.
    assert write(*read(written)) == written, "what was read cannot be written and read"
    return True


def _encode_frame(group: int, content: Any) -> bytes:
    if type(content) in MESSAGE_CLASSES:
        return encode(group, content)
    return encode_greeting(content)


def _frames(pieces: list[bytes]) -> tuple[list[bytes], str | None]:
    """Return the payloads in ``pieces``, and why the rest was refused, if it was."""
    buffer = FrameBuffer(frame_bytes_max=FRAME_BYTES_MAX)
    payloads: list[bytes] = []
    for piece in pieces:
        try:
            payloads += buffer.receive(piece)
        except WireError as error:
            return payloads, str(error)
        assert buffer.bytes_held <= FRAME_BYTES_MAX + HEADER_BYTES, "more than one frame is kept"
    return payloads, None


def _one_input(data: bytes) -> None:
    check(data)
    check_stream(data, 1 + len(data) % 7)


def _instrumented() -> list[FunctionType]:
    """Return what is watched: our own code, and not all that tests bring with them."""
    functions = [one for one in gc.get_objects() if isinstance(one, FunctionType)]
    return [one for one in functions if (one.__module__ or "").startswith("kvpaxos.wire.")]


def main() -> None:
    """Fuzz until told to stop: all arguments are those of libFuzzer."""
    atheris = import_module("atheris")
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(true_bytes()):
            Path(corpus, str(number)).write_bytes(data)
        for function in _instrumented():
            atheris.instrument_func(function)
        atheris.Setup([*sys.argv, corpus], _one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
