"""What nodes check of each other, as tables."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from kvpaxos.node.handshake import (
    Handshake,
    Runs,
    answered_by_another,
    misdialed,
    mismatch,
    replaced,
)
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.records import Formed, Forming
from kvpaxos.wire.greeting import Holds, Identity

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")

MINE = Identity(A, (A, B, C), "c", True, 1, 5, "mine", 9, "00", "r=1")  # noqa: FBT003
THEIRS = replace(MINE, node=B, boot=3, process="theirs")
EMPTY_B = replace(THEIRS, cluster="", formed=False, incarnation=0)


@pytest.mark.parametrize(
    "theirs",
    [
        THEIRS,
        EMPTY_B,
        replace(THEIRS, formed=False),
        replace(THEIRS, cluster="d", formed=False),
        replace(THEIRS, records=0, head="ff"),
    ],
    ids=["formed", "empty", "forming", "forming another", "another length of journal"],
)
def test_members_of_one_cluster_match(theirs: Identity) -> None:
    assert mismatch(MINE, theirs) is None


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (replace(THEIRS, node=A), "both ends call themselves n01"),
        (replace(THEIRS, members=(A, B)), "n02 is set up for the members n01, n02, and n01 for"),
        (replace(THEIRS, node=NodeId("n09")), "n09 is no member; the members are n01, n02, n03"),
        (replace(THEIRS, cluster="d"), "n02 belongs to the cluster d, and n01 to c"),
        (replace(THEIRS, rules="r=2"), "n02 is set up with r=2, and n01 with r=1"),
    ],
    ids=["the same name", "other members", "no member", "another cluster", "other limits"],
)
def test_others_do_not(theirs: Identity, sentence: str) -> None:
    assert sentence in (mismatch(MINE, theirs) or "")


def test_the_one_that_was_meant_must_be_the_one_that_is_there() -> None:
    assert misdialed(MINE, A) is None
    assert "n02 was dialed, but this is n01" in (misdialed(MINE, B) or "")
    assert answered_by_another(THEIRS, B) is None
    assert "n03 was dialed, but n02 answered" in (answered_by_another(THEIRS, C) or "")


@pytest.mark.parametrize(
    ("theirs", "alive", "sentence"),
    [
        (THEIRS, True, None),
        (replace(THEIRS, boot=4, process="next"), True, None),
        (replace(THEIRS, incarnation=2, boot=1, process="next"), True, None),
        (replace(THEIRS, boot=2, process="old"), True, "run 2 of its disk"),
        (replace(THEIRS, boot=2, process="old"), False, "run 2 of its disk"),
        (replace(THEIRS, incarnation=0, boot=9, process="old"), False, "old backup or a copy"),
        (replace(THEIRS, process="clone"), True, "two processes call themselves n02"),
        (replace(THEIRS, process="clone"), False, "two processes call themselves n02"),
        (replace(EMPTY_B, boot=1, process="clean"), False, None),
        (replace(EMPTY_B, boot=1, process="clean"), True, "old backup or a copy"),
    ],
    ids=[
        "the same run",
        "a later run",
        "another disk, with leave",
        "an earlier run",
        "an earlier run of one that is gone",
        "an earlier disk",
        "a copy beside it",
        "a copy of one that is gone",
        "a cleaned disk after it is gone",
        "a cleaned disk beside it",
    ],
)
def test_runs_go_upward_only(theirs: Identity, alive: bool, sentence: str | None) -> None:  # noqa: FBT001
    runs = Runs()
    assert runs.objection(THEIRS, alive=False) is None
    runs.note(THEIRS)
    objection = runs.objection(theirs, alive=alive)
    assert objection is None if sentence is None else sentence in (objection or "")


def test_before_it_is_formed_a_node_is_told_from_its_copy_while_it_lives() -> None:
    runs = Runs()
    runs.note(EMPTY_B)
    copy = replace(EMPTY_B, process="copy")
    assert "two processes" in (runs.objection(copy, alive=True) or "")
    assert runs.objection(copy, alive=False) is None


def test_an_empty_disk_does_not_make_an_old_one_acceptable() -> None:
    runs = Runs()
    runs.note(THEIRS)
    runs.note(EMPTY_B)
    assert "run 2 of its disk" in (
        runs.objection(replace(THEIRS, boot=2, process="old"), alive=False) or ""
    )


def test_one_process_may_come_further_and_older_words_of_it_may_come_late() -> None:
    runs = Runs()
    for theirs in (EMPTY_B, replace(THEIRS, formed=False), THEIRS, EMPTY_B):
        assert runs.objection(replace(theirs, boot=3, process="p"), alive=True) is None
        runs.note(replace(theirs, boot=3, process="p"))


def test_a_copy_of_a_node_that_was_formed_since_it_greeted_is_told_from_it() -> None:
    runs = Runs()
    runs.note(EMPTY_B)
    runs.formed(B, THEIRS.incarnation)
    assert runs.objection(THEIRS, alive=False) is None
    copy = replace(THEIRS, process="copy")
    assert "two processes" in (runs.objection(copy, alive=False) or "")


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (replace(THEIRS, boot=4, process="next", records=10, head="0a"), None),
        (replace(THEIRS, boot=4, process="next", records=9), None),
        (replace(THEIRS, boot=4, process="copy", records=8), "n02 shows a journal of 8 records"),
        (replace(THEIRS, boot=9, process="copy", records=0), "n02 shows a journal of 0 records"),
        (replace(THEIRS, boot=4, process="copy", head="0b"), "another journal of 9 records"),
        (replace(THEIRS, head="0b"), "another journal of 9 records"),
        (replace(THEIRS, incarnation=2, boot=1, process="new", records=3, head="0c"), None),
    ],
    ids=[
        "a restart",
        "a journal that did not grow",
        "a copy from before",
        "a much older copy",
        "a copy that went another way",
        "a journal that was replaced",
        "another disk, with leave",
    ],
)
def test_a_journal_keeps_what_was_seen_of_it(theirs: Identity, sentence: str | None) -> None:
    runs = Runs()
    runs.note(THEIRS)
    for alive in (True, False):
        objection = runs.objection(theirs, alive=alive)
        assert objection is None if sentence is None else sentence in (objection or "")


def test_what_a_journal_held_later_in_a_run_counts_in_the_next() -> None:
    runs = Runs()
    runs.note(THEIRS)
    assert runs.holds(B, "theirs", Holds(20, "14"), floor=9) is None
    copy = replace(THEIRS, boot=4, process="copy", records=15, head="0f")
    assert "n02 shows a journal of 15 records" in (runs.objection(copy, alive=True) or "")
    other = replace(THEIRS, boot=4, process="copy", records=20, head="0f")
    assert "another journal of 20 records" in (runs.objection(other, alive=True) or "")
    assert runs.objection(replace(THEIRS, boot=4, process="next", records=21), alive=True) is None


def test_words_of_a_run_may_come_late_but_none_from_before_one_that_it_answers() -> None:
    """A process whose memory was set back, too, shows less in answer than it had shown before."""
    runs = Runs()
    runs.note(replace(THEIRS, records=20, head="14"))
    assert runs.records(B) == 20
    # It was under way for longer than what was said after it.
    assert runs.objection(THEIRS, alive=True) is None
    runs.note(THEIRS)
    assert runs.records(B) == 20
    assert "n02 shows a journal of 9 records" in (
        runs.objection(THEIRS, alive=True, floor=20) or ""
    )
    assert "a journal of 19 records" in (runs.holds(B, "theirs", Holds(19, "13"), floor=20) or "")
    assert "another journal of 20" in (runs.holds(B, "theirs", Holds(20, "13"), floor=20) or "")
    assert runs.records(B) == 20


def test_what_an_earlier_run_held_is_no_news_once_a_later_one_was_seen() -> None:
    runs = Runs()
    runs.note(THEIRS)
    runs.note(replace(THEIRS, boot=4, process="next", records=10, head="0a"))
    assert runs.holds(B, "theirs", Holds(9, "00"), floor=0) is None
    assert runs.records(B) == 10


def test_the_journal_of_a_node_that_never_voted_may_be_cleaned() -> None:
    runs = Runs()
    runs.note(EMPTY_B)
    assert runs.holds(B, "theirs", Holds(20, "14"), floor=9) is None
    assert runs.objection(replace(EMPTY_B, process="clean", records=1), alive=False) is None


def test_what_was_seen_is_known_to_a_later_run_of_this_node() -> None:
    runs = Runs()
    runs.note(THEIRS)
    runs.holds(B, "theirs", Holds(20, "14"), floor=9)
    again = Runs(runs.unwritten(slack=3))
    assert again.records(B) == 20
    for theirs, sentence in (
        (replace(THEIRS, records=20, head="14"), None),
        (replace(THEIRS, boot=4, process="next", records=21), None),
        (replace(THEIRS, process="copy", records=21), "two processes call themselves n02"),
        (replace(THEIRS, boot=2, process="old", records=21), "n02 shows run 2 of its disk"),
        (replace(THEIRS, boot=4, process="old", records=19), "a journal of 19 records, but 20"),
        (replace(THEIRS, boot=4, process="old", records=20), "another journal of 20 records"),
    ):
        objection = again.objection(theirs, alive=False)
        assert objection is None if sentence is None else sentence in (objection or "")


def test_a_run_is_written_once_and_again_when_its_journal_has_grown_by_more_than_the_slack() -> (
    None
):
    def written() -> list[tuple[int, str, int]]:
        return [(one.boot, one.process, one.records) for one in runs.unwritten(slack=3)]

    runs = Runs()
    runs.note(EMPTY_B)
    assert written() == [], "it has voted nowhere"
    runs.note(THEIRS)
    assert written() == [(3, "theirs", 9)]
    for records in (9, 12):
        runs.holds(B, "theirs", Holds(records, "00"), floor=0)
        assert written() == []
    assert [one.records for one in runs.unwritten(slack=0)] == [12]
    runs.holds(B, "theirs", Holds(16, "10"), floor=0)
    assert written() == [(3, "theirs", 16)]
    runs.note(replace(THEIRS, boot=4, process="next", records=16, head="10"))
    assert written() == [(4, "next", 16)]
    assert written() == []


def test_an_objection_is_no_acquaintance() -> None:
    runs = Runs()
    runs.note(THEIRS)
    runs.objection(replace(THEIRS, boot=7, process="x"), alive=True)
    assert runs.objection(THEIRS, alive=True) is None


# With which state a new cluster begins.

FRESH = replace(MINE, cluster="", formed=False, incarnation=0)
RESTORED = "r=1, begins with the state after slot 7"


@pytest.mark.parametrize("cluster", ["", "c"], ids=["empty", "forming"])
def test_members_of_a_new_cluster_begin_with_the_same_state(cluster: str) -> None:
    mine = replace(FRESH, cluster=cluster, rules=RESTORED)
    same = replace(FRESH, node=B, rules=RESTORED)
    assert mismatch(mine, same) is None
    for other in (replace(same, rules=f"{RESTORED}7"), replace(same, rules="r=1")):
        for one, two in ((mine, other), (other, mine)):
            assert "must be restored from the same backup, or none" in (mismatch(one, two) or "")


def test_with_what_a_cluster_began_does_not_matter_once_it_is_formed() -> None:
    # This one has agreed to it, and may not have heard yet that all others have.
    agreed = replace(MINE, formed=False, rules=RESTORED)
    assert mismatch(agreed, THEIRS) is None
    assert mismatch(THEIRS, agreed) is None


def test_a_restored_state_does_not_come_into_a_cluster_that_is_formed() -> None:
    stranger = replace(FRESH, rules=RESTORED)
    for one, two in ((stranger, THEIRS), (THEIRS, stranger)):
        assert "n01 was restored from a backup, and the cluster" in (mismatch(one, two) or "")


def test_other_settings_are_told_without_the_state() -> None:
    other = replace(EMPTY_B, rules="r=2, begins with the state after slot 7")
    assert "n02 is set up with r=2, and n01 with r=1:" in (mismatch(MINE, other) or "")


@pytest.mark.parametrize(
    ("theirs", "objects"),
    [
        pytest.param(replace(THEIRS, incarnation=1), True, id="the old disk"),
        pytest.param(replace(THEIRS, incarnation=2), False, id="the newest"),
        pytest.param(replace(THEIRS, incarnation=3), False, id="one newer still"),
        pytest.param(EMPTY_B, False, id="an empty one"),
    ],
)
def test_a_disk_that_was_given_up_does_not_come_back(theirs: Identity, objects: bool) -> None:  # noqa: FBT001
    objection = replaced(replace(MINE, incarnations=((B, 2),)), theirs)
    assert ("what it said before is void" in (objection or "")) is objects
    assert replaced(MINE, theirs) is None


def test_a_run_that_came_back_is_another_disk_than_the_one_that_was_seen() -> None:
    runs = Runs()
    runs.note(THEIRS)
    runs.note(replace(EMPTY_B, boot=1, process="back"))
    runs.formed(B, 2)
    assert "n02" in (runs.objection(THEIRS, alive=False) or "")
    back = replace(THEIRS, incarnation=2, boot=1, process="back")
    assert runs.objection(back, alive=True) is None


def test_what_an_earlier_disk_held_does_not_count_for_a_run_on_a_new_one() -> None:
    """It was asked before it was known to be back, and answers after."""
    runs = Runs()
    runs.note(replace(THEIRS, records=300))
    floor = runs.records(B)
    runs.note(replace(EMPTY_B, boot=1, process="back"))
    runs.formed(B, 2)
    back = replace(THEIRS, incarnation=2, boot=1, process="back", records=3, head="0c")
    assert runs.objection(back, alive=True, floor=floor) is None


def test_a_second_new_disk_that_is_lost_before_anybody_renewed_it_leaves_room_for_a_third() -> None:
    def handshake(node: NodeId, process: str, **more: Any) -> Handshake:
        formation = Formation(node, (A, B, C), fresh_cluster="z", may_rejoin=True, **more)
        held = partial(Holds, 0, "00")
        return Handshake(formation, boot=1, process=process, rules="r=1", held=held)

    def meet(one: Handshake, another: Handshake) -> None:
        for here, there in ((one, another), (another, one)):
            theirs = there.identity()
            assert here.examine(theirs, theirs.node, dialed=True, alive=False, floor=0) is None
            standing = there.formation.standing
            here.formation.heard(theirs.node, standing, theirs.incarnations)

    members = {
        node: handshake(node, node, forming=Forming("c", node, (A, B, C), 1), formed=Formed("c"))
        for node in (A, C)
    }
    for number in (2, 3, 4):
        back = handshake(B, f"disk {number}", forming=None, formed=None)
        for member in members.values():
            meet(member, back)
        while not back.formation.standing.formed:
            back.formation.persisted()
        assert back.formation.incarnation == number
        # It shows itself to one of them, and is lost.
        meet(members[A], back)
