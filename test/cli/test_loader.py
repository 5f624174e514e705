"""Many lines at a time: what is stored, in which order, and through which line all is."""

from __future__ import annotations

import io

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kvpaxos.cli.checkpoint import START, Position
from kvpaxos.cli.lines import FileLines
from kvpaxos.cli.loader import LineFailed, Loader
from kvpaxos.cli.pairs import BadLine, pair_line
from kvpaxos.errors import Unavailable


class Store:
    """A cluster that acknowledges a write when the test says so.

    :ivar asked: every write, in order.
    :ivar canceled: those that nobody waits for any more.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.canceled: list[tuple[bytes, bytes]] = []
        self.waiting: dict[tuple[bytes, bytes], Deferred[None]] = {}

    def put(self, key: bytes, value: bytes) -> Deferred[None]:
        pair = key, value
        self.asked.append(pair)
        self.waiting[pair] = Deferred(lambda _: self.canceled.append(pair))
        return self.waiting[pair]

    def acknowledge(self, *names: str) -> None:
        for name in names:
            self.waiting.pop(pair(name)).callback(None)

    def fail(self, name: str, error: Exception) -> None:
        self.waiting.pop(pair(name)).errback(error)


def pair(name: str) -> tuple[bytes, bytes]:
    """Return the pair called ``name``: its letters are the key, all of it is the value."""
    return name.rstrip("0123456789").encode(), name.encode()


def text_of(*names: str) -> bytes:
    """Return lines for pairs; a name that begins with ``!`` stands in the text as it is."""
    lines = [
        name[1:].encode() + b"\n" if name.startswith("!") else pair_line(*pair(name))
        for name in names
    ]
    return b"".join(lines)


class LoaderTests(SynchronousTestCase):
    """`Loader`."""

    def load(self, *names: str, concurrency: int = 3, start: Position = START) -> None:
        """Begin to load the pairs that are called ``names``."""
        self.text = text_of(*names)
        self.store = Store()
        self.moves: list[Position] = []
        loader = Loader(self.store.put, self.moves.append, concurrency=concurrency, start=start)
        self.loading = Deferred.fromCoroutine(loader.load(FileLines(io.BytesIO(self.text))))

    def asked(self) -> list[str]:
        return [value.decode() for _, value in self.store.asked]

    def moved(self) -> list[int]:
        return [position.lines for position in self.moves]

    def failure(self) -> LineFailed:
        error = self.failureResultOf(self.loading, LineFailed).value
        assert isinstance(error, LineFailed)
        return error

    def test_no_lines_are_loaded_at_once(self) -> None:
        self.load()
        self.successResultOf(self.loading)
        assert (self.asked(), self.moves) == ([], [])

    def test_so_many_lines_are_under_way_and_no_more(self) -> None:
        self.load("a", "b", "c", "d", "e")
        assert self.asked() == ["a", "b", "c"]
        self.store.acknowledge("b")
        assert self.asked() == ["a", "b", "c", "d"]
        self.store.acknowledge("a", "c")
        self.assertNoResult(self.loading)
        self.store.acknowledge("d", "e")
        self.successResultOf(self.loading)

    def test_the_position_is_where_everything_before_is_acknowledged(self) -> None:
        self.load("a", "b", "c", "d")
        self.store.acknowledge("b", "c")
        assert self.moved() == []
        self.store.acknowledge("a")
        assert self.moved() == [3]
        self.store.acknowledge("d")
        assert self.moved() == [3, 4]
        assert self.moves[-1].size == len(self.text)
        whole = START
        for line in io.BytesIO(self.text):
            whole = whole.after(line)
        assert self.moves[-1] == whole

    def test_a_load_that_goes_on_counts_from_where_it_began(self) -> None:
        start = START.after(b"one\n").after(b"two\n")
        self.load("a", start=start)
        self.store.acknowledge("a")
        assert self.moves == [start.after(self.text)]

    def test_blank_lines_count_and_store_nothing(self) -> None:
        self.load("!", "a", "! \t\r", "!")
        assert self.moved() == [1]
        self.store.acknowledge("a")
        self.successResultOf(self.loading)
        assert self.moved() == [1, 4]
        assert self.asked() == ["a"]

    def test_lines_of_one_key_are_stored_one_after_another(self) -> None:
        self.load("a1", "a2", "b", "a3", concurrency=8)
        assert self.asked() == ["a1", "b"]
        self.store.acknowledge("b")
        assert self.asked() == ["a1", "b"]
        self.store.acknowledge("a1")
        assert self.asked() == ["a1", "b", "a2"]
        self.store.acknowledge("a2")
        self.store.acknowledge("a3")
        self.successResultOf(self.loading)
        assert self.asked() == ["a1", "b", "a2", "a3"]
        assert self.moved() == [1, 3, 4]

    def test_after_a_line_that_failed_none_is_sent_and_those_under_way_are_waited_for(self) -> None:
        self.load("a", "b", "c", "d", "e")
        self.store.fail("b", Unavailable("no"))
        assert self.asked() == ["a", "b", "c"]
        self.assertNoResult(self.loading)
        self.store.acknowledge("c", "a")
        failed = self.failure()
        assert (failed.number, str(failed.why)) == (2, "no")
        assert self.moved() == [1]
        assert self.asked() == ["a", "b", "c"]

    def test_a_line_whose_key_waited_for_one_that_failed_is_not_sent(self) -> None:
        self.load("a1", "a2", "a3")
        self.store.fail("a1", Unavailable("no"))
        assert self.failure().number == 1
        assert self.asked() == ["a1"]
        assert self.moved() == []

    def test_of_several_lines_that_failed_the_first_is_told(self) -> None:
        self.load("a", "b", "c")
        self.store.fail("c", Unavailable("last"))
        self.store.fail("a", Unavailable("first"))
        self.store.acknowledge("b")
        failed = self.failure()
        assert (failed.number, str(failed.why)) == (1, "first")

    def test_a_bad_line_is_told_once_all_before_it_are_acknowledged(self) -> None:
        self.load("a", "!bad", "b")
        assert self.asked() == ["a"]
        self.assertNoResult(self.loading)
        self.store.acknowledge("a")
        failed = self.failure()
        assert failed.number == 2
        assert isinstance(failed.why, BadLine)
        assert self.moved() == [1]

    def test_a_bad_first_line_sends_nothing(self) -> None:
        self.load("!bad", "a")
        assert self.failure().number == 1
        assert self.asked() == []

    def test_what_nobody_has_foreseen_ends_it_too(self) -> None:
        self.load("a", "b", "c", "d")
        self.store.fail("a", ZeroDivisionError("oh"))
        self.store.acknowledge("b", "c")
        assert isinstance(self.failure().why, ZeroDivisionError)
        assert self.asked() == ["a", "b", "c"]

    def test_whoever_cancels_it_leaves_nothing_under_way(self) -> None:
        self.load("a", "b", "c", "d", "b")
        self.store.acknowledge("a")
        self.loading.cancel()
        self.failureResultOf(self.loading, CancelledError)
        assert sorted(self.store.canceled) == [pair("b"), pair("c"), pair("d")]
        assert self.moved() == [1]

    def test_a_thousand_lines_that_are_acknowledged_at_once(self) -> None:
        names = [f"k{number}x" for number in range(1000)]
        moves: list[Position] = []

        def put(_key: bytes, _value: bytes) -> Deferred[None]:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done

        loader = Loader(put, moves.append, concurrency=2, start=START)
        loading = Deferred.fromCoroutine(loader.load(FileLines(io.BytesIO(text_of(*names)))))
        self.successResultOf(loading)
        assert [position.lines for position in moves] == list(range(1, 1001))


pytestmark = pytest.mark.timeout(60)
