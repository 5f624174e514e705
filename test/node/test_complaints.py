"""Complaints: all are counted, few are logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from kvpaxos.node.complaints import COMPLAINTS_MAX, Complaints


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    observer = cast(ILogObserver, events.append)
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


def test_a_refusal_is_logged_once_for_each_sentence(logged: list[LogEvent]) -> None:
    complaints = Complaints()
    for sentence in ("one", "two", "one", "two"):
        complaints.hear("n02", "refused", sentence)
    assert [event["sentence"] for event in logged] == ["one", "two"]
    assert complaints.counts["refused"] == 4


def test_other_kinds_are_logged_once_whatever_the_sentence(logged: list[LogEvent]) -> None:
    complaints = Complaints()
    for number in range(4):
        complaints.hear("a stranger", "garbage", f"frame of {number} bytes")
    complaints.hear("n02", "garbage", "frame")
    assert [event["about"] for event in logged] == ["a stranger", "n02"]
    assert complaints.counts["garbage"] == 5


def test_what_was_settled_is_news_again(logged: list[LogEvent]) -> None:
    complaints = Complaints()
    complaints.hear("n02", "unreachable", "away")
    complaints.hear("n03", "unreachable", "away")
    complaints.settle("n02")
    complaints.hear("n02", "unreachable", "away again")
    complaints.hear("n03", "unreachable", "away again")
    assert [event["sentence"] for event in logged] == ["away", "away", "away again"]


def test_the_log_does_not_grow_with_the_imagination_of_strangers(logged: list[LogEvent]) -> None:
    complaints = Complaints()
    for number in range(COMPLAINTS_MAX * 2):
        complaints.hear("a stranger", "refused", f"I am {number}")
    assert len(logged) == COMPLAINTS_MAX
    assert complaints.counts["refused"] == COMPLAINTS_MAX * 2
