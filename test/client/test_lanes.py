"""Lanes: one write under way in each, with a number above all before."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kvpaxos.client.lanes import Lane, Lanes


def taken(taking: Deferred[Lane]) -> Lane:
    lanes: list[Lane] = []
    taking.addCallback(lanes.append)
    return lanes[0]


def test_a_caller_who_waits_for_each_write_has_one_lane_and_growing_numbers() -> None:
    lanes = Lanes("name", 4)
    identities = []
    for _ in range(3):
        lane = taken(lanes.take())
        identities.append(lane.identity())
        lanes.give_back(lane)
    assert identities == [{"client": b"name/1", "opid": opid} for opid in (1, 2, 3)]


def test_writes_that_are_under_way_together_have_lanes_of_their_own() -> None:
    lanes = Lanes("name", 4)
    clients = [taken(lanes.take()).identity()["client"] for _ in range(4)]
    assert clients == [b"name/1", b"name/2", b"name/3", b"name/4"]


def test_the_free_lane_with_the_lowest_number_comes_first() -> None:
    lanes = Lanes("name", 4)
    first, second, third = (taken(lanes.take()) for _ in range(3))
    for lane in (third, first, second):
        lanes.give_back(lane)
    assert taken(lanes.take()) is first
    assert taken(lanes.take()) is second


def test_whoever_waits_longest_gets_the_next_lane() -> None:
    lanes = Lanes("name", 1)
    lane = taken(lanes.take())
    first, second = lanes.take(), lanes.take()
    lanes.give_back(lane)
    assert (first.called, second.called) == (True, False)
    lanes.give_back(taken(first))
    assert taken(second) is lane


def test_who_is_canceled_leaves_the_queue() -> None:
    lanes = Lanes("name", 1)
    lane = taken(lanes.take())
    leaving, staying = lanes.take(), lanes.take()
    failures: list[Failure] = []
    leaving.addErrback(failures.append)
    leaving.cancel()
    assert failures[0].check(CancelledError)
    lanes.give_back(lane)
    assert taken(staying) is lane
