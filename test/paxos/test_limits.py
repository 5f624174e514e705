"""Long commands have more time on their way; short ones in ordinary clusters have as ever."""

from __future__ import annotations

from kvpaxos.paxos.ballot import NO_SLOT, Ballot, Slot
from kvpaxos.paxos.effects import Outcome, Proposed, Wish
from kvpaxos.paxos.limits import MIB, PROMPT_BYTES_MAX, Limits, Timing
from kvpaxos.paxos.messages import Accept, Batch, CatchUp, Command
from kvpaxos.paxos.outbox import Outbox
from kvpaxos.paxos.proposer import Leading
from test.paxos.bench import TIMING, Bench, messages
from test.paxos.values import LOW as LOW_OF_B
from test.paxos.values import A, B, C, health

LONG = Limits(command_bytes_max=32 * MIB)
LOW = Ballot(1, A)


def batch(size: int) -> Batch:
    return (Command(A, 1, 1, 0, bytes(size)),)


def test_by_default_nothing_waits_for_longer_than_a_short_message() -> None:
    timing = Timing.of(Limits())
    assert timing == Timing()
    assert timing.transfer_s(Limits().command_bytes_max) == 0


def test_where_commands_are_long_silence_and_syncs_may_last_longer() -> None:
    timing = Timing.of(LONG)
    assert timing.patience_s - Timing().patience_s == 0.875
    assert timing.stuck_s - Timing().stuck_s == 0.875


def test_what_is_over_the_prompt_part_is_given_a_second_for_each_8_mib() -> None:
    assert Timing().transfer_s(PROMPT_BYTES_MAX) == 0
    assert Timing().transfer_s(PROMPT_BYTES_MAX + 16 * MIB) == 2


def test_slots_are_opened_until_they_hold_too_many_bytes() -> None:
    role = Leading(LOW, Slot(1), NO_SLOT, Limits(open_bytes_max=10_000))
    role.offer(batch(9_000), 0.0)
    assert role.has_room(NO_SLOT)
    role.offer(batch(9_000), 0.0)
    assert not role.has_room(NO_SLOT)


def test_one_command_that_is_longer_than_the_window_is_offered_alone() -> None:
    role = Leading(LOW, Slot(1), NO_SLOT, Limits(open_bytes_max=10_000))
    role.admit(batch(20_000))
    assert role.has_room(NO_SLOT)
    role.offer(role.next_batch(), 0.0)
    assert not role.has_room(NO_SLOT)


def test_the_outbox_knows_how_many_bytes_are_on_their_way() -> None:
    box = Outbox(A, 1, Limits())
    box.add([Wish(1, bytes(100), 9.0), Wish(2, bytes(20), 5.0), Wish(3, bytes(3), 9.0)])
    assert box.sent_bytes == 0
    box.take()
    assert box.sent_bytes == 123
    box.settle([Outcome(1, "done"), Outcome(1, "done")])
    assert box.sent_bytes == 23
    box.expire(6.0)
    assert box.sent_bytes == 3
    box.settle([Outcome(2, "done"), Outcome(3, "done")])
    assert box.sent_bytes == 0


def test_a_long_offer_is_not_taken_for_lost_while_it_may_be_on_its_way() -> None:
    bench = Bench()
    ballot = bench.lead()
    size = PROMPT_BYTES_MAX + 8 * MIB
    bench.step(Proposed((Wish(1, bytes(size), 1e9),)))
    silent = {B: health(ballot), C: health(ballot)}
    start = len(bench.history)
    bench.live(TIMING.retry_s + 0.9, both=silent)
    assert offered(bench, start) == 0
    bench.live(0.3, both=silent)
    assert offered(bench, start) == 2


def test_a_hole_may_be_as_long_as_the_longest_command() -> None:
    bench = Bench(limits=Limits(command_bytes_max=PROMPT_BYTES_MAX + 8 * MIB))
    bench.follow(LOW_OF_B)
    bench.touch(C, says=health(LOW_OF_B, through=3))
    start = len(bench.history)
    told = {B: health(LOW_OF_B), C: health(LOW_OF_B, through=3)}
    bench.live(0.9, both=told)
    assert asked(bench, start) == 0
    bench.live(0.3, both=told)
    assert asked(bench, start) == 1


def offered(bench: Bench, start: int) -> int:
    return sum(len(messages(effects, Accept)) for effects in bench.history[start:])


def asked(bench: Bench, start: int) -> int:
    return sum(len(messages(effects, CatchUp)) for effects in bench.history[start:])
