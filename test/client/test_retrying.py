"""What is sent again, to whom, after what pause, and when a call is given up."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest

from kvpaxos.client.retrying import (
    ATTEMPT_S_MIN,
    HASTE_S_MIN,
    NODE_S_MAX,
    PAUSE_S_MAX,
    PAUSE_S_MIN,
    ROAD_S,
    TROUBLE_S,
    USUAL_TIMES,
    Accept,
    GiveUp,
    Happened,
    Kind,
    Nodes,
    Rejected,
    Retrying,
    Settled,
    Trouble,
    Try,
)

A, B, C = "http://a", "http://b", "http://c"
NAMES = {"n01": A, "n02": B, "n03": C}

REFUSED = Trouble("it refuses connections", "no")
LOST_UNSENT = Trouble("the connection broke before it was sent", "no")
LOST = Trouble("it broke the connection off", "unknown")
SILENT = Trouble("no answer within 2.5 s", "unknown", silent=True)
UNREACHED = Trouble("no answer within 0.005 s", "no", silent=True)
UNAVAILABLE = Trouble("No leader is known", "no", rest_s=1.0)
EXPIRED = Trouble("No quorum decided it in time", "unknown", rest_s=1.0)
TOO_LONG = Trouble("its answer is too long", "unknown", everywhere=True)
REJECTED = Rejected("The key is empty")


def retrying(
    kind: Kind = Kind.READ,
    nodes: Nodes | None = None,
    *,
    deadline: float = 5.0,
    leader_first: bool = False,
) -> Retrying:
    nodes = nodes or Nodes([A, B, C], NAMES)
    return Retrying(kind, nodes, Random(7), leader_first=leader_first, deadline=deadline)


@dataclass(frozen=True)
class Case:
    """What an attempt at node A ends with, and what follows: B, the answer, or an error."""

    kind: Kind
    happened: Happened
    follows: str


READ, ONCE, ANY = Kind.READ, Kind.IDENTIFIED, Kind.UNIDENTIFIED

CASES = [
    Case(READ, Settled(), "answer"),
    Case(ONCE, Settled(), "answer"),
    Case(ANY, Settled(), "answer"),
    Case(READ, REJECTED, "answer"),
    Case(ONCE, REJECTED, "answer"),
    Case(ANY, REJECTED, "answer"),
    Case(READ, REFUSED, "B"),
    Case(ONCE, REFUSED, "B"),
    Case(ANY, REFUSED, "B"),
    Case(READ, LOST_UNSENT, "B"),
    Case(ONCE, LOST_UNSENT, "B"),
    Case(ANY, LOST_UNSENT, "B"),
    Case(READ, LOST, "B"),
    Case(ONCE, LOST, "B"),
    Case(ANY, LOST, "unknown"),
    Case(READ, SILENT, "B"),
    Case(ONCE, SILENT, "B"),
    Case(ANY, SILENT, "unknown"),
    Case(READ, UNAVAILABLE, "B"),
    Case(ONCE, UNAVAILABLE, "B"),
    Case(ANY, UNAVAILABLE, "B"),
    Case(READ, EXPIRED, "B"),
    Case(ONCE, EXPIRED, "B"),
    Case(ANY, EXPIRED, "unknown"),
    Case(READ, TOO_LONG, "no"),
    Case(ONCE, TOO_LONG, "unknown"),
    Case(ANY, TOO_LONG, "unknown"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind.name}-{case.happened}")
def test_only_what_can_do_no_harm_is_sent_again(case: Case) -> None:
    call = retrying(case.kind)
    call.first(0.0)
    match call.after(case.happened, 0.1):
        case Try(node, delay_s, _):
            assert (case.follows, node, delay_s) == ("B", B, 0.0)
        case Accept():
            assert case.follows == "answer"
        case GiveUp(_, applied):
            assert case.follows == applied


SECOND = [
    Case(READ, UNAVAILABLE, "no"),
    Case(ONCE, UNAVAILABLE, "unknown"),
    Case(READ, REFUSED, "no"),
    Case(ONCE, REFUSED, "unknown"),
    Case(ONCE, REJECTED, "unknown"),
    Case(READ, REJECTED, "answer"),
    Case(ONCE, Settled(), "answer"),
]


@pytest.mark.parametrize("case", SECOND, ids=lambda case: f"{case.kind.name}-{case.happened}")
def test_a_call_remembers_that_an_earlier_attempt_may_have_been_carried_out(case: Case) -> None:
    call = retrying(case.kind)
    call.first(0.0)
    assert isinstance(call.after(LOST, 0.1), Try)
    # At the deadline, so that nothing follows.
    match call.after(case.happened, 5.0):
        case Accept():
            assert case.follows == "answer"
        case GiveUp(_, applied):
            assert applied == case.follows
        case step:
            raise AssertionError(step)


def test_a_call_that_certainly_changed_nothing_says_so_whatever_its_kind() -> None:
    for kind in Kind:
        call = retrying(kind)
        call.first(0.0)
        call.after(REFUSED, 0.1)
        assert call.after(UNAVAILABLE, 5.0) == GiveUp(
            f"{A}: it refuses connections; {B}: No leader is known", "no"
        )


# Whom.


def test_nodes_are_asked_in_the_order_they_are_given_in() -> None:
    call = retrying()
    step = call.first(0.0)
    asked: list[str] = []
    while isinstance(step, Try) and len(asked) < 3:
        asked.append(step.node)
        following = call.after(REFUSED, 0.0)
        assert isinstance(following, Try)
        step = following
    assert asked == [A, B, C]


def test_writes_go_to_the_leader_first_and_reads_do_not() -> None:
    nodes = Nodes([A, B, C], NAMES)
    assert nodes.hear("n03")
    assert node_of(retrying(Kind.IDENTIFIED, nodes, leader_first=True).first(0.0)) == C
    assert node_of(retrying(Kind.READ, nodes).first(0.0)) == A


def test_a_leader_that_just_failed_is_asked_last_all_the_same() -> None:
    nodes = Nodes([A, B, C], NAMES)
    nodes.hear("n02")
    nodes.failed(B, 0.0, 0.0)
    call = retrying(Kind.IDENTIFIED, nodes, leader_first=True)
    assert node_of(call.first(0.1)) == A
    assert node_of(call.after(REFUSED, 0.1)) == C
    assert node_of(call.after(REFUSED, 0.1)) == B


def test_a_node_that_failed_in_one_call_is_asked_last_by_others_for_a_while() -> None:
    nodes = Nodes([A, B, C], NAMES)
    nodes.failed(A, 0.0, 0.0)
    assert node_of(retrying(nodes=nodes).first(0.0)) == B
    assert node_of(retrying(nodes=nodes, deadline=99.0).first(TROUBLE_S - 0.1)) == B
    assert node_of(retrying(nodes=nodes, deadline=99.0).first(TROUBLE_S)) == A


def test_a_node_that_answered_is_trusted_again() -> None:
    nodes = Nodes([A], {})
    nodes.failed(A, 0.0, 9.0)
    call = retrying(nodes=nodes)
    step = call.first(0.0)
    assert isinstance(step, Try)
    assert step.delay_s > 0.0
    assert call.after(Settled(), 3.0) == Accept()
    assert retrying(nodes=nodes).first(3.0) == Try(A, 0.0, 2.0)


def test_of_nodes_that_failed_the_one_that_did_so_first_is_asked_first() -> None:
    nodes = Nodes([A, B, C], NAMES)
    for moment, node in enumerate([C, A, B]):
        nodes.failed(node, float(moment), 0.0)
    assert nodes.choose(3.0, leader_first=False)[0] == C


def test_a_leader_without_a_known_address_is_of_no_use_and_named_later() -> None:
    nodes = Nodes([A, B], {})
    assert not nodes.hear("n02")
    assert nodes.nameless == [A, B]
    nodes.learn("n02", B)
    assert nodes.nameless == [A]
    assert nodes.hear("n02")
    assert nodes.choose(0.0, leader_first=True) == (B, 0.0)


def test_a_node_that_knows_no_leader_takes_back_the_last_hint() -> None:
    nodes = Nodes([A, B], NAMES)
    nodes.hear("n02")
    assert nodes.hear("")
    assert nodes.choose(0.0, leader_first=True) == (A, 0.0)


# When.


def test_there_is_no_pause_before_all_nodes_have_failed_and_then_a_growing_one() -> None:
    call = retrying(deadline=1000.0)
    call.first(0.0)
    pauses = []
    for _ in range(30):
        step = call.after(REFUSED, 0.0)
        assert isinstance(step, Try)
        pauses.append(step.delay_s)
    assert pauses[:2] == [0.0, 0.0]
    for number, pause in enumerate(pauses[2:], start=3):
        longest = min(PAUSE_S_MAX, PAUSE_S_MIN * 2 ** (number // 3 - 1))
        assert longest / 2 <= pause <= longest
    assert len(set(pauses[2:])) > 20, "no part of a pause is random"


def test_a_node_is_left_alone_for_as_long_as_it_asks_while_others_are_asked() -> None:
    nodes = Nodes([A, B], NAMES)
    call = retrying(nodes=nodes, deadline=60.0)
    call.first(0.0)
    assert call.after(Trouble("busy", "no", rest_s=3.0), 0.0) == Try(B, 0.0, 30.0)
    assert call.after(Trouble("busy", "no", rest_s=9.0), 1.0) == Try(A, 2.0, 28.5)


def test_a_call_is_over_at_its_deadline() -> None:
    for now in (5.0, 6.0):
        call = retrying()
        call.first(0.0)
        assert call.after(REFUSED, now) == GiveUp(f"{A}: it refuses connections", "no")
    late = retrying().first(5.0)
    assert late == GiveUp("there was no time left to ask a node", "no")


@pytest.mark.parametrize("kind", Kind)
def test_the_attempts_of_a_call_end_before_its_deadline_and_are_not_many(kind: Kind) -> None:
    for seed in range(50):
        nodes = Nodes([A, B, C], NAMES)
        call = Retrying(kind, nodes, Random(seed), leader_first=False, deadline=5.0)
        now = 0.0
        step: object = call.first(now)
        attempts = 0
        while isinstance(step, Try):
            attempts += 1
            assert now + step.delay_s + step.wait_s <= 5.0 + 1e-9
            now += step.delay_s
            step = call.after(UNAVAILABLE if seed % 2 else REFUSED, now)
        assert isinstance(step, GiveUp)
        assert 3 <= attempts <= 30


def test_an_attempt_leaves_time_for_another_node_if_the_request_can_be_sent_again() -> None:
    call = retrying(Kind.IDENTIFIED)
    waits = []
    step: object = call.first(0.0)
    now = 0.0
    while isinstance(step, Try):
        waits.append(step.wait_s)
        now += step.delay_s + step.wait_s
        step = call.after(SILENT, now)
    assert waits[:3] == [HASTE_S_MIN, 2.25, 1.125]
    assert 4 <= len(waits) <= 6
    assert all(wait >= ATTEMPT_S_MIN / 4 for wait in waits)
    assert now == pytest.approx(5.0)


@dataclass(frozen=True)
class Cut:
    """How many nodes of how many are silent, and when the first of the others is asked."""

    nodes: int
    silent: int
    asked_at: float


MINORITIES = [
    Cut(2, 1, 2.5),
    Cut(3, 1, HASTE_S_MIN),
    Cut(4, 1, HASTE_S_MIN),
    Cut(5, 1, HASTE_S_MIN),
    Cut(5, 2, 2 * HASTE_S_MIN),
    Cut(7, 3, 3 * HASTE_S_MIN),
]


@pytest.mark.parametrize("kind", [Kind.READ, Kind.IDENTIFIED])
@pytest.mark.parametrize("cut", MINORITIES, ids=str)
def test_silence_of_a_minority_does_not_use_up_a_call(cut: Cut, kind: Kind) -> None:
    urls = [f"http://n{number}" for number in range(cut.nodes)]
    call = retrying(kind, Nodes(urls, {}))
    step: object = call.first(0.0)
    now = 0.0
    for url in urls[: cut.silent]:
        assert isinstance(step, Try)
        assert (step.node, step.delay_s) == (url, 0.0)
        now += step.wait_s
        step = call.after(SILENT, now)
    assert node_of(step) == urls[cut.silent]
    assert now == pytest.approx(cut.asked_at)


def test_a_write_that_cannot_be_sent_again_is_not_hurried() -> None:
    assert retrying(Kind.UNIDENTIFIED).first(0.0) == Try(A, 0.0, 5.0)


def test_a_short_call_is_not_cut_shorter_than_before() -> None:
    assert retrying(deadline=0.7).first(0.0) == Try(A, 0.0, 0.7)
    assert retrying(deadline=0.8).first(0.0) == Try(A, 0.0, ATTEMPT_S_MIN)


def answer_after(nodes: Nodes, took_s: float, kind: Kind = Kind.READ) -> list[float]:
    """Return how long each attempt of a call waits at nodes that answer after ``took_s``."""
    call = retrying(kind, nodes)
    waits = []
    now = 0.0
    step: object = call.first(now)
    while isinstance(step, Try):
        waits.append(step.wait_s)
        now += step.delay_s + min(step.wait_s, took_s)
        step = call.after(Settled() if took_s <= step.wait_s else SILENT, now)
    assert step == Accept()
    return waits


@pytest.mark.parametrize("kind", [Kind.READ, Kind.IDENTIFIED])
def test_a_cluster_that_is_slow_is_asked_twice_for_the_first_call_and_then_once(kind: Kind) -> None:
    nodes = Nodes([A, B, C], NAMES)
    assert answer_after(nodes, 1.0, kind) == [HASTE_S_MIN, 2.25]
    for _ in range(5):
        assert answer_after(nodes, 1.0, kind) == [2.5]
    # It slows down further, but not beyond what is expected of it.
    assert answer_after(nodes, 2.4, kind) == [2.5]


def test_haste_follows_what_answers_usually_take_and_forgets_slowly() -> None:
    nodes = Nodes([A, B, C], NAMES)
    answer_after(nodes, 0.4)
    assert answer_after(nodes, 0.01)[0] == pytest.approx(USUAL_TIMES * 0.4)
    assert 1.0 < answer_after(nodes, 0.01)[0] < USUAL_TIMES * 0.4
    for _ in range(20):
        answer_after(nodes, 0.01)
    assert answer_after(nodes, 0.01) == [HASTE_S_MIN]


def test_fast_reads_say_nothing_of_writes() -> None:
    nodes = Nodes([A, B, C], NAMES)
    answer_after(nodes, 0.5, Kind.IDENTIFIED)
    for _ in range(20):
        answer_after(nodes, 0.001, Kind.READ)
    assert answer_after(nodes, 0.5, Kind.IDENTIFIED)[0] == pytest.approx(2.0)


def test_what_is_refused_at_once_says_nothing_of_what_answers_take() -> None:
    nodes = Nodes([A, B, C], NAMES)
    answer_after(nodes, 0.4)
    for _ in range(20):
        call = retrying(nodes=nodes)
        call.first(0.0)
        assert call.after(REJECTED, 0.0) == Accept()
    assert answer_after(nodes, 0.4)[0] == pytest.approx(USUAL_TIMES * 0.4)


def told(kind: Kind, *happened: Trouble) -> str:
    """Return what a call says that met all of this at one node, the last at its deadline."""
    call = retrying(kind, Nodes([A], {}))
    call.first(0.0)
    for number, trouble in enumerate(happened[:-1]):
        assert isinstance(call.after(trouble, float(number)), Try)
    end = call.after(happened[-1], 5.0)
    assert isinstance(end, GiveUp)
    return end.why


@pytest.mark.parametrize("kind", Kind)
def test_silence_that_changed_nothing_does_not_hide_what_a_node_said_before(kind: Kind) -> None:
    assert told(kind, REFUSED, UNREACHED) == f"{A}: it refuses connections"
    assert told(kind, UNAVAILABLE, UNREACHED) == f"{A}: No leader is known"


def test_a_read_changes_nothing_by_any_silence() -> None:
    assert told(READ, UNAVAILABLE, SILENT) == f"{A}: No leader is known"


def test_silence_that_leaves_a_write_in_doubt_is_told() -> None:
    assert told(ONCE, REFUSED, SILENT) == f"{A}: no answer within 2.5 s"


def test_what_a_node_says_after_its_silence_is_told() -> None:
    assert told(READ, SILENT, REFUSED) == f"{A}: it refuses connections"


def test_an_attempt_takes_all_the_time_if_there_is_nothing_else_to_do_with_it() -> None:
    assert retrying(Kind.UNIDENTIFIED).first(0.0) == Try(A, 0.0, 5.0)
    assert retrying(Kind.READ, Nodes([A], {})).first(0.0) == Try(A, 0.0, 5.0)


def test_a_node_is_given_a_deadline_that_leaves_its_answer_time_to_come_back() -> None:
    assert Try(A, 0.0, 2.0).timeout_s == pytest.approx(1.8)
    assert Try(A, 0.0, 0.5).timeout_s == pytest.approx(0.5 - ROAD_S)
    assert Try(A, 0.0, 0.12).timeout_s == pytest.approx(0.06)
    assert Try(A, 0.0, 1000.0).timeout_s == NODE_S_MAX
    assert Try(A, 0.0, 1e-9).timeout_s > 0.0


def node_of(step: object) -> str:
    assert isinstance(step, Try)
    return step.node
