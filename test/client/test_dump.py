"""Dumps are whole or say that they are not, and are read no faster than anybody wants."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from kvpaxos.client import Client, Dump
from kvpaxos.client.dump import BREAKS_MAX, Broken, Range, Stream
from kvpaxos.client.pairs import Pair
from kvpaxos.errors import DumpBroken, Unavailable
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.store.view import View
from kvpaxos.testing import FakeCluster

PAGE_PAIRS = 60
"""So many of the pairs below are in one page of a node."""


@pytest.fixture
def cluster() -> FakeCluster:
    """Return a cluster that holds many pages of pairs."""
    cluster = FakeCluster()
    cluster.fill({f"key {number:04}": "v" * 1000 for number in range(10 * PAGE_PAIRS)})
    return cluster


@pytest.fixture
def client(cluster: FakeCluster) -> Client:
    return cluster.client()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the pairs of each page that a node reads."""
    read: list[int] = []
    page = View.page

    def counting(self: View, *arguments: Any) -> list[Any]:
        found = page(self, *arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(View, "page", counting)
    return read


async def all_of(dump: Dump) -> list[Pair]:
    return [pair async for pair in dump]


async def some_of(dump: Dump, count: int) -> list[Pair]:
    return [await dump.__anext__() for _ in range(count)]


def test_a_dump_has_all_pairs_in_order(cluster: FakeCluster, client: Client) -> None:
    cluster.result_of(client.set(b"\xff", b"\xfe"))
    everything = sorted(cluster.pairs().items())
    assert len(everything) == 10 * PAGE_PAIRS + 1
    assert cluster.result_of(all_of(client.dump())) == everything
    assert cluster.result_of(all_of(client.dump(page=7))) == everything


def test_a_dump_of_nothing_is_empty() -> None:
    cluster = FakeCluster()
    client = cluster.client()
    assert cluster.result_of(all_of(client.dump())) == []
    assert cluster.result_of(all_of(client.dump(page=10))) == []


@pytest.mark.parametrize("page", [None, 1, 3, 5, 7, 1000])
def test_a_dump_may_begin_behind_a_key_and_end_early(
    cluster: FakeCluster, client: Client, page: int | None
) -> None:
    everything = sorted(cluster.pairs().items())
    asked = client.dump(after="key 0009", limit=15, page=page)
    assert cluster.result_of(all_of(asked)) == everything[10:25]
    last = client.dump(after=everything[-3][0], limit=5, page=page)
    assert cluster.result_of(all_of(last)) == everything[-2:]


def test_a_dump_shows_one_moment_whatever_is_written_meanwhile(
    cluster: FakeCluster, client: Client
) -> None:
    before = sorted(cluster.pairs().items())
    dump = client.dump()
    first = cluster.result_of(some_of(dump, 1))
    for key in ("key 0001", "key 0599"):
        cluster.result_of(client.set(key, "changed"))
    assert first + cluster.result_of(all_of(dump)) == before


def test_pages_are_moments_of_their_own(cluster: FakeCluster, client: Client) -> None:
    dump = client.dump(page=10)
    cluster.result_of(some_of(dump, 10))
    cluster.result_of(client.delete("key 0010"))
    assert cluster.result_of(some_of(dump, 1))[0][0] == b"key 0011"


# Bounds.


def test_a_node_reads_no_further_than_its_client_does(
    cluster: FakeCluster, client: Client, pages: list[int]
) -> None:
    dump = client.dump()
    cluster.result_of(some_of(dump, 1))
    cluster.clock.advance(1.0)
    assert sum(pages) < 5 * PAGE_PAIRS
    cluster.result_of(some_of(dump, 9 * PAGE_PAIRS))
    assert sum(pages) > 9 * PAGE_PAIRS
    dump.close()


def test_whoever_leaves_early_leaves_nothing_open(cluster: FakeCluster, client: Client) -> None:
    async def leave() -> None:
        async with client.dump() as dump:
            await dump.__anext__()

    for _ in range(2 * HttpLimits().dumps_max):
        cluster.result_of(leave())
    cluster.clock.advance(0.0)
    assert cluster.clock.getDelayedCalls() == []


def test_a_dump_that_was_closed_early_does_not_pass_for_one_that_ended(
    cluster: FakeCluster, client: Client
) -> None:
    dump = client.dump()
    cluster.result_of(some_of(dump, 3))
    dump.close()
    dump.close()
    with pytest.raises(DumpBroken, match=r"it was closed"):
        cluster.result_of(all_of(dump))
    whole = client.dump(limit=3)
    cluster.result_of(all_of(whole))
    whole.close()
    assert cluster.result_of(all_of(whole)) == []


def test_a_closed_client_closes_its_dumps(cluster: FakeCluster, client: Client) -> None:
    dumps = [client.dump() for _ in range(3)]
    cluster.result_of(some_of(dumps[0], 1))
    opening = Deferred.fromCoroutine(dumps[1].batch())
    cluster.result_of(client.close())
    for reading in (opening, some_of(dumps[0], 1), some_of(dumps[2], 1)):
        with pytest.raises(DumpBroken, match=r"it was closed"):
            cluster.result_of(reading)
    cluster.clock.advance(0.0)
    assert cluster.clock.getDelayedCalls() == []


def test_a_canceled_reader_lets_go_of_the_connection(cluster: FakeCluster, client: Client) -> None:
    for turns in range(12):
        dump = client.dump()
        reading = Deferred.fromCoroutine(all_of(dump))
        failures: list[Failure] = []
        reading.addErrback(failures.append)
        for _ in range(turns):
            step(cluster.clock)
        reading.cancel()
        assert failures[0].check(CancelledError)
        dump.close()
        cluster.clock.advance(0.0)
        assert cluster.clock.getDelayedCalls() == []


def step(clock: Clock) -> None:
    """Let one thing happen that is due."""
    call = next((call for call in clock.calls if call.getTime() <= clock.seconds()), None)
    if call is not None:
        clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)


# Breaks.


def test_a_dump_that_breaks_in_the_middle_is_not_put_together_from_two_moments(
    cluster: FakeCluster, client: Client
) -> None:
    dump = client.dump()
    (last, _) = cluster.result_of(some_of(dump, 3))[-1]
    cluster.stop("n01")
    with pytest.raises(DumpBroken) as broken:
        cluster.result_of(all_of(dump))
    assert broken.value.after is not None
    assert broken.value.after >= last
    assert str(broken.value) == (
        "The dump ended before its last pair (the node broke it off): what came of it is not the"
        " whole; begin again, or ask for pages."
    )
    with pytest.raises(DumpBroken):
        cluster.result_of(all_of(dump))


def test_a_dump_that_breaks_before_its_first_pair_is_begun_at_another_node(
    cluster: FakeCluster, client: Client
) -> None:
    reading = Deferred.fromCoroutine(all_of(client.dump()))
    cluster.stop("n01")
    assert cluster.result_of(reading) == sorted(cluster.pairs().items())


def test_a_dump_in_pages_goes_on_behind_its_last_key_at_another_node(
    cluster: FakeCluster, client: Client
) -> None:
    everything = sorted(cluster.pairs().items())
    dump = client.dump(page=200)
    found = cluster.result_of(some_of(dump, 150))
    cluster.stop("n01")
    found += cluster.result_of(some_of(dump, 300))
    cluster.start("n01")
    cluster.stop("n02")
    assert found + cluster.result_of(all_of(dump)) == everything


def test_a_dump_that_no_node_gives_is_unavailable(cluster: FakeCluster, client: Client) -> None:
    cluster.cut_off("n01", "n02")
    dump = client.dump()
    with pytest.raises(Unavailable):
        cluster.result_of(dump.batch())
    cluster.heal()
    assert len(cluster.result_of(all_of(dump))) == 10 * PAGE_PAIRS


class Breaking:
    """Where dumps come from that break before their first pair."""

    def __init__(self) -> None:
        self.opened = 0

    async def open(self, part: Range) -> Stream:
        self.opened += 1
        stream, _ = make_stream()
        stream.connectionLost(Failure(ConnectionLost()))
        return stream


@pytest.mark.parametrize("page", [None, 10])
def test_a_dump_that_never_gets_anywhere_is_given_up(page: int | None) -> None:
    source = Breaking()
    closed: list[Dump] = []
    dump = Dump(source, Range(None, None), page=page, closed=closed.append)
    with pytest.raises(DumpBroken) as broken:
        FakeCluster().result_of(dump.batch())
    assert broken.value.after is None
    assert source.opened == BREAKS_MAX
    assert closed == [dump]


# Streams.


def make_stream(clock: Clock | None = None) -> tuple[Stream, StringTransport]:
    stream = Stream(clock or Clock(), idle_s_max=5.0, pair_bytes_max=1000, broke=lambda: None)
    transport = StringTransport()
    stream.makeConnection(transport)
    return stream, transport


def begin(stream: Stream) -> list[list[Pair] | Failure]:
    """Ask for a batch, and return a list that it will be in."""
    came: list[list[Pair] | Failure] = []
    Deferred.fromCoroutine(stream.batch()).addBoth(came.append)
    return came


def test_a_stream_reads_while_somebody_waits_and_no_longer() -> None:
    stream, transport = make_stream()
    came = begin(stream)
    stream.dataReceived(b'[["a",')
    assert (came, transport.producerState) == ([], "producing")
    stream.dataReceived(b'"b"],')
    assert (came, transport.producerState) == ([[(b"a", b"b")]], "paused")
    came = begin(stream)
    assert (came, transport.producerState) == ([], "producing")
    stream.dataReceived(b'["c","d"]]')
    stream.connectionLost(Failure(ResponseDone()))
    assert came == [[(b"c", b"d")]]
    assert begin(stream) == [[]]


def test_what_came_before_a_stream_broke_is_still_handed_out() -> None:
    stream, _ = make_stream()
    stream.dataReceived(b'[["a","b"],')
    stream.connectionLost(Failure(ConnectionLost()))
    assert begin(stream) == [[(b"a", b"b")]]
    assert failed(begin(stream)) == "the node broke it off"


def test_a_stream_that_ends_well_but_too_early_is_broken() -> None:
    stream, _ = make_stream()
    stream.dataReceived(b"[")
    stream.connectionLost(Failure(ResponseDone()))
    assert failed(begin(stream)) == "the dump is cut off"


def test_a_stream_of_nonsense_is_broken_at_once() -> None:
    stream, transport = make_stream()
    came = begin(stream)
    stream.dataReceived(b"<html>")
    assert failed(came) == "this is not a dump"
    assert transport.producerState == "stopped"


def test_a_stream_that_brings_nothing_is_broken_while_somebody_waits_and_only_then() -> None:
    clock = Clock()
    stream, transport = make_stream(clock)
    clock.advance(60.0)
    came = begin(stream)
    clock.advance(4.9)
    assert came == []
    clock.advance(0.1)
    assert failed(came) == "nothing came for 5 s"
    assert transport.producerState == "stopped"


def failed(came: list[list[Pair] | Failure]) -> str:
    (failure,) = came
    assert isinstance(failure, Failure)
    assert failure.check(Broken)
    return failure.getErrorMessage()
