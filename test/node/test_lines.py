"""Log lines: whoever hands them in is never kept waiting, and what was lost is told."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from kvpaxos.node.lines import DescriptorSink, FileSink, LineWriter

LIMIT_S = 30.0
"""Patience with a thread that should do something; only a failing test waits for so long."""


class Gate:
    """A sink that blocks while it is shut, and fails while it is told to."""

    def __init__(self) -> None:
        self.written = b""
        self.failing = False
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def write(self, data: bytes) -> None:
        self.entered.release()
        assert self.open.wait(LIMIT_S)
        if self.failing:
            raise OSError("no space")
        self.written += data


def report(count: int) -> bytes:
    return b"lost %d\n" % count


def test_a_blocked_sink_blocks_nobody_and_takes_no_more_memory() -> None:
    sink = Gate()
    writer = LineWriter(sink, report, bytes_max=100)
    sink.open.clear()
    writer.start()
    writer.write(b"first\n")
    assert sink.entered.acquire(timeout=LIMIT_S)

    # The thread now hangs in the sink. That this loop ends at all is the point.
    for _ in range(10_000):
        writer.write(b"123456789\n")
        assert writer.waiting_bytes <= 100

    # 94 bytes of room beside the first line: nine lines.
    assert writer.dropped == 10_000 - 9
    sink.open.set()
    writer.close(LIMIT_S)
    assert sink.written == b"first\n" + b"123456789\n" * 9 + b"lost 9991\n"


def test_losses_are_told_where_the_lines_are_missing() -> None:
    sink = Gate()
    writer = LineWriter(sink, report, bytes_max=20)
    for line in (b"123456789\n", b"too long to be queued\n", b"1234567\n"):
        writer.write(line)
    # There was room for the report, and then none for the last line.
    writer.start()
    writer.close(LIMIT_S)
    assert sink.written == b"123456789\nlost 1\nlost 1\n"
    assert writer.dropped == 2


def test_lines_wait_for_the_start_since_a_process_may_fork_until_then() -> None:
    sink = Gate()
    writer = LineWriter(sink, report)
    before = threading.active_count()
    writer.write(b"early\n")
    assert threading.active_count() == before
    assert sink.written == b""
    writer.start()
    writer.write(b"late\n")
    writer.close(LIMIT_S)
    assert sink.written == b"early\nlate\n"


def test_a_writer_that_was_never_started_still_writes_at_the_end() -> None:
    sink = Gate()
    writer = LineWriter(sink, report)
    writer.write(b"last words\n")
    writer.close()
    assert sink.written == b"last words\n"


def test_lines_after_the_end_are_written_at_once() -> None:
    sink = Gate()
    writer = LineWriter(sink, report)
    writer.start()
    writer.close(LIMIT_S)
    writer.write(b"and one more\n")
    assert sink.written == b"and one more\n"


def test_the_end_does_not_wait_for_a_sink_that_stays_blocked() -> None:
    sink = Gate()
    writer = LineWriter(sink, report)
    sink.open.clear()
    writer.start()
    writer.write(b"stuck\n")
    assert sink.entered.acquire(timeout=LIMIT_S)
    writer.close(timeout_s=0.01)
    assert sink.written == b""
    sink.open.set()


def test_a_sink_that_fails_loses_lines_and_is_tried_again() -> None:
    sink = Gate()
    writer = LineWriter(sink, report)
    writer.close()
    sink.failing = True
    writer.write(b"a\n")
    writer.write(b"b\n")
    assert writer.dropped == 2
    sink.failing = False
    writer.write(b"c\n")
    assert sink.written == b"lost 2\nc\n"
    assert writer.dropped == 2


def test_a_descriptor_that_is_full_and_non_blocking_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = os.urandom(1_000_000)
    writer = threading.Thread(target=DescriptorSink(writing).write, args=[data])
    writer.start()
    with open(reading, "rb") as file:  # noqa: PTH123 -- a descriptor has no path
        assert file.read(len(data)) == data
    writer.join()
    os.close(writing)


def test_a_file_that_has_grown_large_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvpaxos.node.lines.FILE_BYTES_MAX", 10)
    sink = FileSink(str(tmp_path / "node.log"))
    for number in range(8):
        sink.write(b"0123456789 %d\n" % number)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["node.log", *(f"node.log.{number}" for number in range(1, 5))]
    assert (tmp_path / "node.log").read_bytes() == b"0123456789 7\n"
    sink.close()
