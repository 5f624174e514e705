"""Every request of a client ends exactly once, and says truly whether it was applied."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvpaxos.errors import OutcomeUnknown, Unavailable
from kvpaxos.node import requests
from kvpaxos.node.requests import Executed, Readable, Requests
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.effects import Answer, Event, Expired, Proposed, ReadReady, ReadWanted
from kvpaxos.store.results import Result

DONE = Executed(Result("ok", None, 1), Slot(1))


class Desk:
    """Requests without a driver: what they post is kept."""

    def __init__(self) -> None:
        self.posted: list[Event] = []
        self.leads = "n02"
        self.requests = Requests(self.posted.append, lambda: 100.0, lambda: self.leads)
        self.ends: list[object] = []

    def write(self, body: bytes = b"body") -> int:
        """Write, and return the request's number."""
        self.requests.write(body, 5.0).addBoth(self.ends.append)
        event = self.posted[-1]
        assert isinstance(event, Proposed)
        [wish] = event.wishes
        assert wish.deadline == 105.0
        return wish.request

    def read(self) -> int:
        self.requests.read(5.0).addBoth(self.ends.append)
        event = self.posted[-1]
        assert isinstance(event, ReadWanted)
        [(number, deadline)] = event.reads
        assert deadline == 105.0
        return number

    def said(self) -> list[str]:
        return [end.getErrorMessage() for end in self.ends if isinstance(end, Failure)]

    def failures(self) -> list[type | None]:
        return [end.type for end in self.ends if isinstance(end, Failure)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_each_outcome_goes_to_the_request_that_it_belongs_to(desk: Desk) -> None:
    first, read, second = desk.write(), desk.read(), desk.write()
    desk.requests.answered(Answer(second, DONE))
    desk.requests.read_ready(ReadReady(read, "quorum"), Slot(7))
    assert desk.ends == [DONE, Readable("quorum", Slot(7))]
    desk.requests.answered(Answer(first, DONE))
    assert len(desk.requests) == 0


def test_a_write_that_was_sent_ends_unknown_and_others_not_applied(desk: Desk) -> None:
    sent, unsent, read = desk.write(), desk.write(), desk.read()
    for number, was_sent in ((sent, True), (unsent, False), (read, False)):
        desk.requests.expired(Expired(number, was_sent))
    assert desk.failures() == [OutcomeUnknown, Unavailable, Unavailable]


def test_a_write_that_was_never_sent_names_the_leader_if_there_is_one(desk: Desk) -> None:
    first, second = desk.write(), desk.write()
    desk.requests.expired(Expired(second, sent=False))
    desk.leads = ""
    desk.requests.expired(Expired(first, sent=False))

    assert desk.said() == [
        "it was not sent in time (leader: n02; 2 requests waited here)",
        "it was not sent in time (no leader is known)",
    ]


def test_what_was_asked_of_others_in_vain_names_the_leader_if_there_is_one(desk: Desk) -> None:
    read, write = desk.read(), desk.write()
    desk.requests.expired(Expired(read, sent=False))
    desk.leads = ""
    desk.requests.expired(Expired(write, sent=True))

    assert desk.said() == [
        "no quorum confirmed in time that this node is up to date (leader: n02)",
        "no quorum decided it in time (no leader is known)",
    ]


def test_closing_ends_writes_unknown_and_reads_not_done(desk: Desk) -> None:
    desk.write()
    desk.read()
    desk.requests.close("the disk is gone")
    assert sorted(map(str, desk.failures())) == sorted(map(str, [OutcomeUnknown, Unavailable]))
    with pytest.raises(Unavailable, match="the disk is gone"):
        desk.requests.write(b"", 1.0)


def test_refusing_waits_for_what_is_under_way_and_takes_nothing_new(desk: Desk) -> None:
    write, read = desk.write(), desk.read()
    idle: list[None] = []
    desk.requests.refuse("stopping").addCallback(idle.append)
    with pytest.raises(Unavailable, match="stopping"):
        desk.requests.read(1.0)
    desk.requests.read_ready(ReadReady(read, "quorum"), Slot(1))
    assert idle == []
    desk.requests.answered(Answer(write, DONE))
    assert idle == [None]


def test_too_many_requests_are_refused_and_room_comes_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "REQUESTS_MAX", 2)
    number = desk.write()
    desk.write()
    with pytest.raises(Unavailable, match="2 requests are waiting"):
        desk.requests.write(b"", 1.0)
    desk.requests.answered(Answer(number, DONE))
    desk.write()


def test_too_many_bytes_are_refused_and_room_comes_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "REQUEST_BYTES_MAX", 10)
    number = desk.write(b"123456")
    with pytest.raises(Unavailable):
        desk.requests.write(b"12345", 1.0)
    desk.requests.answered(Answer(number, DONE))
    desk.write(b"12345")


def test_a_reader_that_went_away_is_not_an_error(desk: Desk) -> None:
    waiting: Deferred[Readable] = desk.requests.read(5.0)
    waiting.addErrback(lambda _: None)
    event = desk.posted[-1]
    assert isinstance(event, ReadWanted)
    waiting.cancel()
    desk.requests.read_ready(ReadReady(event.reads[0][0], "quorum"), Slot(1))
    assert len(desk.requests) == 0
