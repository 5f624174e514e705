"""Lines, from a file or through a pipe."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from kvpaxos.cli import lines as module
from kvpaxos.cli.lines import FileLines, Lines, PipeLines
from kvpaxos.cli.pairs import BadLine

pytestmark = pytest.mark.timeout(60)

TEXTS = [b"", b"\n", b"one", b"one\n", b"one\ntwo", b"one\r\n\n\ntwo\n", b"\0\xff\n" * 5]


class Pipe:
    """A pipe, and the lines at its end."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reading, self.writing = os.pipe()
        self.lines = PipeLines(self.reading, reactor)

    def write(self, data: bytes) -> None:
        assert os.write(self.writing, data) == len(data)

    def end(self) -> None:
        os.close(self.writing)
        self.writing = -1

    def close(self) -> None:
        if self.writing >= 0:
            self.end()
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


async def all_of(lines: Lines) -> list[bytes]:
    found = []
    while line := await lines.next():
        found.append(line)
    assert await lines.next() == b"", "what has ended has ended"
    return found


@pytest.mark.parametrize("text", TEXTS, ids=repr)
@pytest_twisted.ensureDeferred
async def test_lines_put_together_are_what_was_there(text: bytes, pipe: Pipe) -> None:
    pipe.write(text)
    pipe.end()
    expected = list(io.BytesIO(text))
    assert await all_of(FileLines(io.BytesIO(text))) == expected
    assert await all_of(pipe.lines) == expected


@pytest_twisted.ensureDeferred
async def test_a_line_comes_when_its_end_has_come(pipe: Pipe) -> None:
    pipe.write(b"one\ntw")
    assert await pipe.lines.next() == b"one\n"
    coming = Deferred.fromCoroutine(pipe.lines.next())
    assert not coming.called
    pipe.write(b"o\n")
    assert await coming == b"two\n"


@pytest_twisted.ensureDeferred
async def test_a_pipe_that_cannot_be_read_says_so(pipe: Pipe) -> None:
    from twisted.internet import reactor

    with pytest.raises(OSError, match="Bad file descriptor"):
        await PipeLines(pipe.writing, reactor).next()


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest_twisted.ensureDeferred
async def test_a_line_without_end_is_no_pair(
    end: bytes, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_BYTES_MAX", 10)
    text = b"x" * 11 + end
    pipe.write(text)
    pipe.end()
    for lines in (FileLines(io.BytesIO(text)), pipe.lines):
        with pytest.raises(BadLine, match="it has more than 10 bytes; write one object a line"):
            await lines.next()
