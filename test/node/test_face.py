"""What a node tells through its face, and when it stops rather than tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import DiskError, NoSpace, OutcomeUnknown, StateDamaged, Unavailable
from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.node.face import Face, Unquestioned
from kvpaxos.node.http.store import Described, JournalPage, LinkChange, Receipt, Written
from kvpaxos.node.requests import Executed, Requests
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Answer, Decision, Event, Proposed, ReadReady, ReadWanted
from kvpaxos.paxos.messages import Command
from kvpaxos.store.commands import (
    Append,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    encode_operation,
)
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.requests import Identity, Named, Numbered, decode_request, encode_request
from kvpaxos.store.results import Result

DAMAGE = DamagedRecords(Damage(Path("journal-1.log"), 4096, 100, "Vote in slot 3"))


class FakeInsides:
    """A node that leads nothing and has decided what the test says."""

    def __init__(self) -> None:
        self.leads = "n02"
        self.reason: str | None = None
        self.warning: str | None = None
        self.doubts: str | None = None
        self.halts: list[Exception] = []
        self.page: Deferred[list[Decision]] = succeed([])
        self.asked: list[tuple[Slot, int]] = []

    def leader(self) -> str:
        return self.leads

    def trouble(self) -> str | None:
        return self.reason

    def alarm(self) -> str | None:
        return self.warning

    def doubt(self) -> str | None:
        return self.doubts

    def halted(self) -> bool:
        return bool(self.halts)

    def describe(self) -> dict[str, object]:
        return {}

    def limits(self) -> dict[str, object]:
        return {}

    def links(self) -> Sequence[Described]:
        return []

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        return []

    def decided(self, from_slot: Slot, limit: int) -> Deferred[list[Decision]]:
        self.asked.append((from_slot, limit))
        return self.page

    def shutdown(self) -> None:
        raise AssertionError("nobody asked for it")

    def halt(self, error: Exception) -> None:
        self.halts.append(error)


class Turning:
    """A state that was agreed on."""

    agreed = Slot(2)
    dispute: str | None = None


class Body:
    """A face on a state in memory that has applied some slots."""

    def __init__(self, applied: int = 0) -> None:
        self.insides = FakeInsides()
        self.posted: list[Event] = []
        self.requests = Requests(self.posted.append, lambda: 100.0, self.insides.leader)
        self.state = State(MemoryEngine(), 0, value_bytes_max=1024)
        for slot in range(1, applied + 1):
            self.state.commit(Slot(slot))
        self.face = Face(self.state, self.requests, self.insides, monotonic=lambda: 100.0)


def decision(slot: int, *bodies: bytes, ballot: Ballot = ZERO_BALLOT) -> Decision:
    commands = [Command(NodeId("n01"), 7, number, 0, body) for number, body in enumerate(bodies, 1)]
    return Decision(Slot(slot), ballot, tuple(commands))


def outcome(deferred: Deferred[Any]) -> Any:
    """Return what a Deferred has fired with, a failure's exception included."""
    ends: list[Any] = []
    deferred.addBoth(ends.append)
    [end] = ends
    return end.value if isinstance(end, Failure) else end


# States that are disputed.


def test_from_a_state_that_is_disputed_nothing_is_answered() -> None:
    body = Body(applied=3)
    sentence = "the state after slot 3 is not that of n02"
    trust = Unquestioned(Slot(2), sentence)
    face = Face(body.state, body.requests, body.insides, trust, monotonic=lambda: 100.0)
    for stale in (True, False):
        with pytest.raises(Unavailable, match=sentence):
            face.read(stale=stale, timeout_s=1.0)
    with pytest.raises(Unavailable, match=sentence):
        face.write(Set(b"a", b"b"), None, timeout_s=1.0)
    assert face.ready() == sentence
    status = face.status()
    assert status["trouble"] == sentence
    assert cast("dict[str, object]", status["state"])["agreed_slot"] == 2
    assert not body.posted


def test_nor_to_those_that_wait_when_the_dispute_begins() -> None:
    body = Body(applied=3)
    trust = Turning()
    face = Face(body.state, body.requests, body.insides, trust, monotonic=lambda: 100.0)
    reading = face.read(stale=False, timeout_s=1.0)
    writing = face.write(Set(b"a", b"b"), None, timeout_s=1.0)
    read, written = body.posted
    assert isinstance(read, ReadWanted)
    assert isinstance(written, Proposed)
    trust.dispute = "the state after slot 3 is not that of n02"
    body.requests.read_ready(ReadReady(read.reads[0][0], "quorum"), Slot(3))
    done = Executed(Result("ok", None, 1), Slot(3))
    body.requests.answered(Answer(written.wishes[0].request, done))
    assert isinstance(outcome(reading), Unavailable)
    assert isinstance(outcome(writing), OutcomeUnknown)


# Receipts.


def test_before_the_cluster_is_formed_the_receipt_names_slot_0_and_nobody() -> None:
    body = Body()
    body.insides.leads = ""

    assert body.face.receipt() == Receipt(0, "", "stale")


def test_a_receipt_names_the_slot_that_is_applied_and_who_leads() -> None:
    body = Body(applied=3)

    assert body.face.receipt() == Receipt(3, "n02", "stale")
    assert outcome(body.face.read(stale=True, timeout_s=1.0)) == Receipt(3, "n02", "stale")


def test_a_linearizable_read_names_what_proved_it() -> None:
    body = Body(applied=3)
    reading = body.face.read(stale=False, timeout_s=1.0)
    [event] = body.posted
    assert isinstance(event, ReadWanted)
    body.requests.read_ready(ReadReady(event.reads[0][0], "quorum"), Slot(3))

    assert outcome(reading) == Receipt(3, "n02", "quorum")


def test_a_write_names_the_slot_that_executed_it() -> None:
    body = Body(applied=3)
    writing = body.face.write(Set(b"a", b"b"), Named(b"r"), timeout_s=1.0)
    [event] = body.posted
    assert isinstance(event, Proposed)
    assert decode_request(event.wishes[0].body) == (Set(b"a", b"b"), Named(b"r"))
    done = Result("ok", None, 9)
    body.requests.answered(Answer(event.wishes[0].request, Executed(done, Slot(4))))

    assert outcome(writing) == Written(done, Receipt(4, "n02", "logged"))


def test_on_a_full_disk_only_what_would_fill_it_is_refused() -> None:
    body = Body(applied=3)
    body.insides.warning = "the disk of this node is nearly full"
    for refused in (Set(b"a", b"b"), Insert(b"a", b"b"), Append(b"a", b"b")):
        with pytest.raises(NoSpace, match=r"^the disk of this node is nearly full$"):
            body.face.write(refused, None, timeout_s=1.0)
    assert body.posted == []
    for taken in (Delete(b"a"), Get(b"a"), Count()):
        body.face.write(taken, None, timeout_s=1.0)
    body.face.read(stale=False, timeout_s=1.0)
    assert len(body.posted) == 4

    assert body.face.status()["alarm"] == "the disk of this node is nearly full"
    body.insides.warning = None
    body.face.write(Set(b"a", b"b"), None, timeout_s=1.0)
    assert len(body.posted) == 5
    assert body.face.status()["alarm"] is None


def test_a_node_that_has_halted_names_no_leader_and_reads_nothing() -> None:
    body = Body(applied=3)
    body.insides.halts.append(DiskError("the disk is gone"))
    body.insides.reason = "the disk is gone"

    assert body.face.receipt() == Receipt(3, "", "stale")
    with pytest.raises(Unavailable, match="the disk is gone"):
        body.face.read(stale=True, timeout_s=1.0)


# The journal.


def page_of(body: Body, *slots: int, from_slot: int = 1, limit: int = 100) -> JournalPage:
    body.insides.page = succeed([decision(slot) for slot in slots])
    page = outcome(body.face.journal(from_slot, limit))
    assert isinstance(page, JournalPage)
    return page


@pytest.mark.parametrize(
    ("shown", "following"),
    [((1, 2, 3), 4), ((1,), 2), ((4, 5), 6), ((5,), 6), ((6, 7), None), ((7,), None), ((), None)],
)
def test_a_page_of_the_journal_says_where_to_go_on(
    shown: tuple[int, ...], following: int | None
) -> None:
    page = page_of(Body(applied=7), *shown)

    assert [slot["slot"] for slot in page.slots] == list(shown)
    assert page.next == following


def test_pages_of_the_journal_show_every_slot_once_however_they_are_cut() -> None:
    body = Body(applied=9)
    shown: list[object] = []
    following: int | None = 1
    while following is not None:
        some = range(following, min(following + 2, 10))
        page = page_of(body, *some, from_slot=following, limit=5)
        shown += [slot["slot"] for slot in page.slots]
        following = page.next

    assert shown == list(range(1, 10))
    assert body.insides.asked == [(slot, 5) for slot in (1, 3, 5, 7, 9)]


def test_a_page_cut_short_by_what_was_forgotten_meanwhile_goes_on_behind_it() -> None:
    body = Body(applied=9)
    body.insides.page = succeed([decision(5), decision(6)])

    assert outcome(body.face.journal(1, 100)).next == 7


def test_the_journal_spells_a_slot_with_its_commands() -> None:
    body = Body(applied=1)
    commands = (encode_operation(Set(b"a", b"\xff")), b"nonsense")
    body.insides.page = succeed([decision(1, *commands, ballot=Ballot(2, NodeId("n03")))])
    [slot] = outcome(body.face.journal(1, 1)).slots

    assert (slot["slot"], slot["ballot"]) == (1, "2.n03")
    first, second = slot["commands"]
    assert first == {
        "node": "n01",
        "life": 7,
        "sequence": 1,
        "settled_through": 0,
        "operation": "set",
        "key": "a",
        "value": None,
        "value_base64": "/w==",
    }
    assert (second["operation"], second["sequence"]) == (None, 2)
    assert second["error"]


@pytest.mark.parametrize(
    ("operation", "identity", "shown"),
    [
        (Get(b"a"), Numbered(b"c", 7), {"operation": "get", "key": "a", "client": "c", "opid": 7}),
        (Count(), Named(b"\xff"), {"operation": "count", "requestid_base64": "/w=="}),
        (Delete(b"a"), Numbered(b"", 0), {"operation": "delete", "client": "", "opid": 0}),
    ],
)
def test_the_journal_shows_the_identity_of_a_request(
    operation: Operation, identity: Identity, shown: dict[str, object]
) -> None:
    body = Body(applied=1)
    body.insides.page = succeed([decision(1, encode_request(operation, identity))])
    [slot] = outcome(body.face.journal(1, 1)).slots

    [command] = slot["commands"]
    assert shown.items() <= command.items()


def test_limits_name_what_is_kept_for_requests_that_come_again() -> None:
    limits = Body().face.limits()

    assert asdict(IdentityLimits()).items() <= limits.items()
    assert (limits["identifier_bytes_max"], limits["opid_max"]) == (128, 2**63 - 1)


def test_status_tells_how_much_is_kept_for_requests_that_come_again() -> None:
    body = Body()
    request = encode_request(Set(b"a", b"b"), Numbered(b"c", 7))
    body.state.apply(Command(NodeId("n01"), 1, 1, 0, request))
    body.state.commit(Slot(1))

    state = body.face.status()["state"]
    assert isinstance(state, dict)
    assert (state["client_sessions"], state["request_ids"]) == (1, 0)


def test_status_is_told_while_one_state_is_replaced_by_another() -> None:
    body = Body()
    body.state.engine.close()
    state = body.face.status()["state"]
    assert isinstance(state, dict)
    assert state["file_bytes"] == 0


@pytest.mark.parametrize("error", [DAMAGE, DiskError("journal-1.log: the disk refuses")], ids=str)
def test_a_node_that_finds_its_journal_damaged_halts(error: Exception) -> None:
    body = Body(applied=3)
    body.insides.page = fail(error)

    assert outcome(body.face.journal(1, 100)) is error
    assert body.insides.halts == [error]


def test_a_journal_that_is_closed_does_not_halt_the_node() -> None:
    body = Body(applied=3)
    error = Unavailable("the journal is closed")
    body.insides.page = fail(error)

    assert outcome(body.face.journal(1, 100)) is error
    assert body.insides.halts == []


# The state.


def test_a_node_that_finds_its_state_damaged_halts() -> None:
    body = Body(applied=1)
    body.state.engine.write({body.state.machine._layout.user(b"a"): b"nonsense"})

    with pytest.raises(StateDamaged):
        body.face.get(b"a")
    assert [type(error) for error in body.insides.halts] == [StateDamaged]


def test_a_page_of_a_dump_that_is_damaged_halts_the_node() -> None:
    body = Body(applied=1)
    body.state.engine.write({body.state.machine._layout.user(b"a"): b"nonsense"})
    view = body.face.view()

    with pytest.raises(StateDamaged):
        view.page(None, 10, 1000)
    view.close()
    assert [type(error) for error in body.insides.halts] == [StateDamaged]


def test_a_node_that_does_not_vote_yet_is_not_ready() -> None:
    body = Body()
    body.insides.doubts = "this node has a new disk"
    assert body.face.ready() == "this node has a new disk"
