"""What a candidate must offer, and what a leader takes, offers and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.paxos.acceptor import size_of
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import NOOP, Batch, Command, Promise, Vote
from kvpaxos.paxos.proposer import Leading, Preparing
from kvpaxos.paxos.quorum import Quorum
from test.paxos.values import (
    ALONE,
    FIVE,
    HIGH,
    LOW,
    MIDDLE,
    ONE,
    THREE,
    TWO,
    A,
    B,
    C,
    D,
    E,
    X,
    Y,
    batch,
    command,
    commands,
    promise,
    vote,
)

STRANGER: Final = NodeId("z")
Z: Final = batch("z")


def preparing(*promises: tuple[NodeId, Promise]) -> Preparing:
    """Return a candidate that was given ``promises``, in this order."""
    role = Preparing(HIGH, 0.0)
    for sender, one in promises:
        role.add(sender, one)
    return role


def leading(next_slot: int = 1, limits: Limits | None = None) -> Leading:
    return Leading(HIGH, Slot(next_slot), NO_SLOT, limits or Limits())


class TestObliged:
    @dataclass(frozen=True)
    class Case:
        """The votes among the promises, and what must be offered, from ``first`` on."""

        name: str
        votes: tuple[Vote, ...]
        offers: dict[int, Batch]
        first: int = 1

    CASES = (
        Case("no votes oblige to nothing", (), {}),
        Case("a vote is offered again", (vote(1, LOW, X),), {1: X}),
        Case("that of the higher ballot", (vote(1, LOW, X), vote(1, MIDDLE, Y)), {1: Y}),
        Case("whoever comes first", (vote(1, MIDDLE, Y), vote(1, LOW, X)), {1: Y}),
        Case("of equal rounds by the node", (vote(1, HIGH, X), vote(1, MIDDLE, Y)), {1: X}),
        Case("each slot by itself", (vote(1, LOW, X), vote(2, HIGH, Y)), {1: X, 2: Y}),
        Case("gaps get no-ops", (vote(1, LOW, X), vote(4, LOW, Y)), {1: X, 2: (), 3: (), 4: Y}),
        Case("also before the first vote", (vote(3, LOW, X),), {1: (), 2: (), 3: X}),
        Case("a vote for a no-op counts", (vote(1, LOW, X), vote(1, HIGH, NOOP)), {1: NOOP}),
        Case("what is decided is not offered", (vote(1, LOW, X), vote(2, LOW, Y)), {2: Y}, 2),
        Case("nothing if all is decided", (vote(1, LOW, X), vote(2, LOW, Y)), {}, 3),
    )

    @pytest.mark.parametrize("spread", ["one promise each", "all in one", "one part each"])
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_obliged(self, case: Case, spread: str) -> None:
        match spread:
            case "one promise each":
                nodes = (A, B, C)
                role = preparing(*((nodes[i], promise(v)) for i, v in enumerate(case.votes)))
            case "all in one":
                role = preparing((A, promise(*case.votes)))
            case _:
                parts = len(case.votes)
                role = preparing(
                    *((A, promise(v, part=i, parts=parts)) for i, v in enumerate(case.votes))
                )
        assert dict(role.obliged(Slot(case.first))) == case.offers

    @given(
        st.dictionaries(
            st.tuples(st.sampled_from([A, B, C, D, E]), st.integers(1, 6)),
            st.sampled_from([Ballot(1, A), LOW, MIDDLE, HIGH]),
        ),
        st.integers(1, 7),
    )
    def test_it_is_the_vote_of_the_highest_ballot_in_each_slot(
        self, ballots: dict[tuple[NodeId, int], Ballot], first: int
    ) -> None:
        role = Preparing(Ballot(3, A), 0.0)
        for node in (A, B, C, D, E):
            votes = [
                vote(slot, ballot, batch(f"{slot} {ballot}"))
                for (voter, slot), ballot in ballots.items()
                if voter == node
            ]
            role.add(node, promise(*votes))

        offers = list(role.obliged(Slot(first)))

        last = max((slot for _, slot in ballots), default=0)
        assert [slot for slot, _ in offers] == list(range(first, last + 1))
        for slot, offered in offers:
            highest = max((b for (_, voted), b in ballots.items() if voted == slot), default=None)
            assert offered == (NOOP if highest is None else batch(f"{slot} {highest}"))


class TestWon:
    @pytest.mark.parametrize(
        ("quorum", "promisers", "won"),
        [
            pytest.param(ALONE, [A], True, id="one is a quorum of one"),
            pytest.param(THREE, [A], False, id="one is no quorum of three"),
            pytest.param(THREE, [A, A], False, id="nor if it promises twice"),
            pytest.param(THREE, [A, STRANGER], False, id="strangers do not count"),
            pytest.param(THREE, [B, C], True, id="two of three are"),
            pytest.param(FIVE, [A, B], False, id="two of five are not"),
            pytest.param(FIVE, [A, B, E], True, id="three of five are"),
        ],
    )
    def test_a_quorum_of_promises_wins(
        self, quorum: Quorum, promisers: list[NodeId], *, won: bool
    ) -> None:
        assert preparing(*((node, promise()) for node in promisers)).won(quorum) == won

    @pytest.mark.parametrize(
        ("parts", "won"),
        [
            pytest.param([0], False, id="the first part is not enough"),
            pytest.param([2], False, id="nor is the last"),
            pytest.param([0, 2], False, id="nor most of them"),
            pytest.param([0, 0, 1, 1], False, id="nor copies of some"),
            pytest.param([0, 1, 2], True, id="all of them are"),
            pytest.param([2, 0, 1], True, id="in any order"),
            pytest.param([0, 1, 0, 2, 1], True, id="and with copies among them"),
        ],
    )
    def test_all_parts_of_a_promise_are_needed(self, parts: list[int], *, won: bool) -> None:
        promises = [(B, promise(part=part, parts=3)) for part in parts]
        assert preparing((A, promise()), *promises).won(THREE) == won

    @pytest.mark.parametrize(
        "again",
        [
            pytest.param(promise(part=1, parts=2, through=1), id="more is decided"),
            pytest.param(promise(part=1, parts=3), id="more parts"),
        ],
    )
    def test_parts_of_a_promise_that_was_given_again_are_not_mixed(self, again: Promise) -> None:
        before = promise(vote(1, LOW, X), part=0, parts=2)
        role = preparing((A, promise()), (B, before), (B, again))
        assert not role.won(THREE)
        assert list(role.obliged(ONE)) == []


class TestMustLearnThrough:
    @pytest.mark.parametrize(
        ("promises", "through"),
        [
            pytest.param([promise(), promise()], 0, id="nothing if nobody knows anything"),
            pytest.param([promise(through=3), promise(through=5)], 5, id="what anybody knows"),
            pytest.param([promise(kept=5), promise()], 4, id="what one of two keeps no more"),
            pytest.param([promise(kept=5, through=9), promise()], 9, id="the higher of both"),
            pytest.param(
                [promise(), promise(), promise(part=0, parts=2, through=2)],
                2,
                id="what any part says",
            ),
            pytest.param(
                [promise(kept=5), promise(), promise(kept=2)], 1, id="not what a quorum keeps"
            ),
            pytest.param(
                [promise(kept=5), promise(), promise(kept=5)], 4, id="what two of three have lost"
            ),
            pytest.param(
                [promise(kept=5, through=4), promise(), promise()],
                4,
                id="what one can teach, though a quorum has kept it",
            ),
            pytest.param(
                [promise(kept=5), promise(), promise(part=0, parts=2)],
                4,
                id="what is kept by one whose promise is not whole",
            ),
        ],
    )
    def test_must_learn_through(self, promises: list[Promise], through: int) -> None:
        role = preparing(*zip((A, B, C), promises, strict=False))
        assert role.must_learn_through(THREE) == through


class TestWindow:
    @pytest.mark.parametrize(
        ("next_slot", "decided_through", "room"),
        [
            pytest.param(1, 0, True, id="nothing is open"),
            pytest.param(3, 0, True, id="one less than the window is open"),
            pytest.param(4, 0, False, id="the window is full"),
            pytest.param(4, 1, True, id="the first of it is decided"),
            pytest.param(9, 1, False, id="what phase 1 obliged to offer is beyond it"),
            pytest.param(9, 6, True, id="and is caught up with"),
        ],
    )
    def test_it_begins_at_the_first_undecided_slot(
        self, next_slot: int, decided_through: int, *, room: bool
    ) -> None:
        role = leading(next_slot, Limits(open_slots_max=3))
        assert role.has_room(Slot(decided_through)) == room

    def test_slots_that_were_decided_above_an_open_one_make_no_room(self) -> None:
        role = leading(limits=Limits(open_slots_max=3))
        for _ in range(3):
            role.offer(X, 0.0)
        role.voted(A, TWO, ALONE, 0.0)
        assert not role.has_room(NO_SLOT)

    def test_so_many_bytes_in_open_slots_make_no_room_for_another(self) -> None:
        role = leading()
        role.offer(X, 0.0)
        size = role.open[ONE].size
        role.limits = Limits(open_bytes_max=2 * size)
        assert role.has_room(NO_SLOT)
        role.offer(X, 0.0)
        assert not role.has_room(NO_SLOT)
        role.voted(A, ONE, ALONE, 0.0)
        assert role.has_room(ONE)


GATHERS: Final = 0.02


class TestGathersUntil:
    """Slots are opened at 5.0, one after the other, and decided after some milliseconds."""

    def leading(self, *sizes: int, took_s: float = 0.001, limits: Limits | None = None) -> Leading:
        """Return who has had slots of so many commands decided, each within ``took_s``."""
        role = Leading(HIGH, ONE, NO_SLOT, limits or Limits(), gather_s=GATHERS)
        for size in sizes:
            slot = role.offer(commands(1, size), 5.0)
            role.voted(A, slot, ALONE, 5.0 + took_s)
        return role

    def test_who_has_offered_nothing_waits_for_nothing(self) -> None:
        role = self.leading()
        role.admit(commands(1, 1))
        assert role.gathers_until == 0.0

    @pytest.mark.parametrize(
        ("limits", "waiting", "until"),
        [
            pytest.param(Limits(), 1, 5.0 + GATHERS, id="for more"),
            pytest.param(Limits(batch_commands_max=3), 2, 5.0 + GATHERS, id="for one more"),
            pytest.param(Limits(batch_commands_max=3), 3, 0.0, id="for none that have no place"),
            pytest.param(Limits(batch_bytes_max=1), 1, 0.0, id="nor if their bytes have none"),
        ],
    )
    def test_while_a_slot_is_open_commands_wait(
        self, limits: Limits, waiting: int, until: float
    ) -> None:
        role = self.leading(limits=limits)
        role.offer(X, 5.0)
        role.admit(commands(1, waiting))
        assert role.gathers_until == until

    @pytest.mark.parametrize(
        ("sizes", "waiting", "until"),
        [
            pytest.param([1], 1, 0.0, id="nobody, after others that were alone"),
            pytest.param([4], 4, 0.0, id="nobody, if as many came as last"),
            pytest.param([4], 3, 5.005, id="others that came with them last"),
            pytest.param([4, 1], 2, 5.005, id="others that came with them lately"),
            pytest.param([4, 1, 1, 1], 1, 0.0, id="nobody, if nobody has come for some slots"),
        ],
    )
    def test_once_it_is_decided_they_wait_for(
        self, sizes: list[int], waiting: int, until: float
    ) -> None:
        role = self.leading(*sizes)
        role.admit(commands(1, waiting))
        assert role.gathers_until == pytest.approx(until)

    def test_they_wait_four_times_as_long_as_it_took_but_never_longer_than_is_set(self) -> None:
        for took_s, until in ((0.0005, 5.0025), (0.003, 5.015), (0.005, 5.0 + GATHERS)):
            role = self.leading(4, took_s=took_s)
            role.admit(commands(1, 1))
            assert role.gathers_until == pytest.approx(until)

    def test_it_gathers_if_anything_is_queued(self) -> None:
        role = self.leading()
        assert not role.has_queued
        role.admit(commands(1, 1))
        assert role.has_queued


@dataclass(frozen=True)
class Admission:
    """What is forwarded, one message after the other, and which sequences are queued."""

    name: str
    forwards: tuple[Batch, ...]
    queued: tuple[int, ...]


ADMISSIONS = [
    Admission("commands from the first on", (commands(1, 3),), (1, 2, 3)),
    Admission("one after the other", (commands(1, 1), commands(2, 3)), (1, 2, 3)),
    Admission("no copies", (commands(1, 2), commands(1, 2)), (1, 2)),
    Admission("no copies of what comes along", (commands(1, 2), commands(1, 4)), (1, 2, 3, 4)),
    Admission("no copy within one message", (commands(1, 2) + commands(2, 3),), (1, 2, 3)),
    Admission("nothing after a gap", (commands(1, 1), commands(3, 4)), (1,)),
    Admission("nothing that begins above 1", (commands(2, 3),), ()),
    Admission("no reversed order", (commands(2, 2), commands(1, 1)), (1,)),
    Admission(
        "what was missing, together with what follows",
        (commands(1, 1), commands(3, 4), commands(2, 4)),
        (1, 2, 3, 4),
    ),
    Admission("nothing is missing below the floor", (commands(5, 6, settled=4),), (5, 6)),
    Admission("but above it", (commands(6, 7, settled=4),), ()),
    Admission("a floor closes a gap", (commands(1, 2), commands(5, 5, settled=4)), (5,)),
    Admission("an old floor lowers nothing", (commands(1, 3), commands(4, 4)), (1, 2, 3, 4)),
    Admission("nothing at its own floor", ((command(4, settled=4),),), ()),
]


class TestAdmit:
    @pytest.mark.parametrize("case", ADMISSIONS, ids=lambda case: case.name)
    def test_queues(self, case: Admission) -> None:
        role = leading()
        for forward in case.forwards:
            role.admit(forward)
        assert tuple(one.sequence for one in role.next_batch()) == case.queued

    def test_nodes_have_sequences_of_their_own(self) -> None:
        role = leading()
        role.admit(commands(1, 2, node=A))
        role.admit(commands(1, 1, node=B))
        assert role.next_batch() == commands(1, 2, node=A) + commands(1, 1, node=B)

    def test_so_have_the_lives_of_a_node(self) -> None:
        role = leading()
        role.admit(commands(1, 2))
        again = (command(1, life=2),)
        role.admit(again)
        assert role.next_batch() == (*commands(1, 2), *again)

    def test_what_left_the_queue_is_a_copy_still(self) -> None:
        role = leading()
        role.admit(commands(1, 2))
        role.next_batch()
        role.admit(commands(1, 3))
        assert role.next_batch() == commands(3, 3)

    def test_what_finds_the_queue_full_leaves_no_gap_once_it_is_sent_again(self) -> None:
        role = leading(limits=Limits(queue_commands_max=2))
        role.admit(commands(1, 3))
        assert role.is_full
        assert role.next_batch() == commands(1, 2)
        role.admit(commands(4, 4))
        role.admit(commands(3, 4))
        assert role.next_batch() == commands(3, 4)

    @pytest.mark.parametrize(
        ("limits", "sizes", "full"),
        [
            pytest.param(Limits(queue_commands_max=3), [1, 1], False, id="few commands"),
            pytest.param(Limits(queue_commands_max=3), [1, 1, 1], True, id="many commands"),
            pytest.param(Limits(queue_bytes_max=100), [50, 49], False, id="few bytes"),
            pytest.param(Limits(queue_bytes_max=100), [50, 50], True, id="many bytes"),
            pytest.param(Limits(queue_bytes_max=100), [999], True, id="one that alone is too long"),
        ],
    )
    def test_the_queue_is_bounded(self, limits: Limits, sizes: list[int], *, full: bool) -> None:
        role = leading(limits=limits)
        role.admit(command(i, body=b"." * size) for i, size in enumerate(sizes, 1))
        assert role.is_full == full
        taken = role.next_batch()
        assert not role.is_full, "what was taken makes room"
        assert [len(one.body) for one in taken] == sizes


class TestGivenUp:
    """What its node no longer waits for, as a later command of the same life says."""

    def queue(self, *later: Command, limits: Limits | None = None) -> Leading:
        """Return a leader that has queued commands 1 to 4, and then is sent ``later``."""
        role = leading(limits=limits)
        role.admit(commands(1, 4))
        role.admit(later)
        return role

    def test_is_not_offered_any_more(self) -> None:
        role = self.queue(command(5, settled=2))
        assert [one.sequence for one in role.next_batch()] == [3, 4, 5]

    def test_and_what_follows_says_so_too(self) -> None:
        role = self.queue(command(5, settled=2))
        assert [one.settled_through for one in role.next_batch()] == [2, 2, 2]

    def test_even_if_what_said_so_is_not_admitted(self) -> None:
        role = self.queue(command(9, settled=2))
        assert role.next_batch() == commands(3, 4, settled=2)

    def test_all_of_it_may_be(self) -> None:
        role = self.queue(command(5, settled=4))
        assert role.next_batch() == (command(5, settled=4),)
        assert self.queue(command(9, settled=7)).next_batch() == ()

    def test_an_older_word_does_not_bring_it_back(self) -> None:
        role = self.queue(command(5, settled=2), command(6, settled=1))
        assert role.next_batch() == commands(3, 6, settled=2)

    @pytest.mark.parametrize(
        "later",
        [command(1, node=B, settled=0), command(1, life=2), command(9, life=2, settled=8)],
        ids=["another node", "its next life", "what that life gave up"],
    )
    def test_others_say_nothing_about_it(self, later: Command) -> None:
        role = self.queue(later)
        assert role.next_batch()[:4] == commands(1, 4)

    def test_takes_no_room_in_a_batch(self) -> None:
        limits = Limits(batch_commands_max=2)
        role = self.queue(command(5, settled=2), limits=limits)
        assert role.next_batch() == commands(3, 4, settled=2)
        size = size_of((command(),))
        role = self.queue(command(5, settled=2), limits=Limits(batch_bytes_max=2 * size + 20))
        assert role.next_batch() == commands(3, 4, settled=2)

    def test_nor_in_the_queue_once_it_was_passed_over(self) -> None:
        role = self.queue(command(9, settled=7), limits=Limits(queue_bytes_max=8))
        full = [role.is_full]
        role.next_batch()
        full.append(role.is_full)
        role.admit(commands(8, 11, settled=7))
        full.append(role.is_full)
        assert full == [True, False, True], "every byte is counted once"


class TestNextBatch:
    SIZE: Final = size_of((command(body=b"." * 100),))

    def test_nothing_if_nothing_waits(self) -> None:
        assert leading().next_batch() == ()

    def test_everything_that_waits(self) -> None:
        role = leading()
        role.admit(commands(1, 100))
        assert role.next_batch() == commands(1, 100)
        assert role.next_batch() == ()

    @pytest.mark.parametrize(
        ("limits", "lengths"),
        [
            pytest.param(Limits(batch_commands_max=2), [2, 2, 1], id="so many commands"),
            pytest.param(Limits(batch_bytes_max=2 * SIZE), [2, 2, 1], id="so many bytes"),
            pytest.param(Limits(batch_bytes_max=3 * SIZE - 1), [2, 2, 1], id="not a byte more"),
            pytest.param(Limits(batch_bytes_max=1), [1] * 5, id="one always fits"),
        ],
    )
    def test_at_most(self, limits: Limits, lengths: list[int]) -> None:
        role = leading(limits=limits)
        waiting = [command(i, body=b"%d" % i * 100) for i in range(1, 6)]
        role.admit(waiting)
        batches = [role.next_batch() for _ in lengths]
        assert [len(one) for one in batches] == lengths
        assert [one for taken in batches for one in taken] == waiting


class TestVotes:
    def test_offers_go_into_slots_one_after_the_other(self) -> None:
        role = leading(5)
        assert [role.offer(what, 1.5) for what in (X, Y)] == [5, 6]
        assert {slot: one.batch for slot, one in role.open.items()} == {5: X, 6: Y}
        assert all(one.sent_at == 1.5 for one in role.open.values())

    @pytest.mark.parametrize(
        ("quorum", "voters", "closed_by"),
        [
            pytest.param(ALONE, [A], 0, id="one vote decides alone"),
            pytest.param(THREE, [A, B, C], 1, id="the second of three"),
            pytest.param(THREE, [B, C, A], 1, id="the leader's own need not be among them"),
            pytest.param(THREE, [A, A, A], None, id="copies do not count"),
            pytest.param(THREE, [A, STRANGER], None, id="nor do strangers"),
            pytest.param(FIVE, [A, B, A, B, E], 4, id="the third of five"),
        ],
    )
    def test_a_quorum_closes_a_slot_once(
        self, quorum: Quorum, voters: list[NodeId], closed_by: int | None
    ) -> None:
        role = leading()
        role.offer(X, 0.0)
        chosen = [role.voted(voter, ONE, quorum, 0.0) for voter in voters]
        assert chosen == [X if place == closed_by else None for place in range(len(voters))]
        assert (ONE in role.open) == (closed_by is None)

    def test_votes_count_in_their_own_slot(self) -> None:
        role = leading()
        role.offer(X, 0.0)
        role.offer(Y, 0.0)
        assert role.voted(A, ONE, THREE, 0.0) is None
        assert role.voted(B, TWO, THREE, 0.0) is None
        assert role.voted(A, TWO, THREE, 0.0) == Y
        assert list(role.open) == [ONE]

    def test_votes_for_what_was_never_offered_do_not_count(self) -> None:
        assert leading().voted(A, ONE, ALONE, 0.0) is None

    def test_a_slot_may_be_decided_as_a_no_op(self) -> None:
        role = leading()
        role.offer(NOOP, 0.0)
        assert role.voted(A, ONE, ALONE, 0.0) == NOOP


class TestSettle:
    @pytest.mark.parametrize(
        ("slot", "what", "own"),
        [
            pytest.param(5, X, True, id="what is open here was decided"),
            pytest.param(5, Y, False, id="something else was: another leads"),
            pytest.param(4, Y, True, id="what is closed here was decided by us"),
            pytest.param(6, X, False, id="a slot was decided that was not offered: another leads"),
        ],
    )
    def test_it_says_whether_it_is_this_leaders_doing(
        self, slot: int, what: Batch, *, own: bool
    ) -> None:
        role = leading(4)
        role.offer(Y, 0.0)
        role.offer(X, 0.0)
        role.voted(A, Slot(4), ALONE, 0.0)
        assert role.settle(Decision(Slot(slot), ZERO_BALLOT, what)) == own
        assert Slot(slot) not in role.open


def sequences(batches: list[Batch]) -> dict[tuple[NodeId, int], list[int]]:
    """Return the sequences in ``batches`` by node and life."""
    found: dict[tuple[NodeId, int], list[int]] = {}
    for one in (one for taken in batches for one in taken):
        found.setdefault((one.node, one.life), []).append(one.sequence)
    return found


@given(
    st.lists(
        st.lists(
            st.builds(
                lambda node, sequence, below: command(
                    sequence, node=node, settled=max(0, sequence - below)
                ),
                st.sampled_from([A, B]),
                st.integers(1, 8),
                st.integers(1, 3),
            ),
            max_size=6,
        ),
        max_size=8,
    ),
    st.builds(
        Limits,
        batch_commands_max=st.integers(1, 3),
        queue_commands_max=st.integers(1, 5),
    ),
)
def test_no_leader_offers_a_command_twice_or_out_of_order(
    forwards: list[list[Command]], limits: Limits
) -> None:
    role = leading(limits=limits)
    taken: list[Batch] = []
    for forward in forwards:
        role.admit(forward)
        taken.append(role.next_batch())
        assert len(taken[-1]) <= limits.batch_commands_max
    for numbers in sequences(taken).values():
        assert numbers == sorted(set(numbers))
