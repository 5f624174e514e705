"""Formation: one cluster or none, whatever crashes and whatever is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from random import Random

import pytest

from kvpaxos.errors import StartError
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import (
    EMPTY,
    NOTHING,
    Form,
    Formation,
    FormationEffects,
    FormationMessage,
    Standing,
    Stands,
)
from kvpaxos.paxos.records import Formed, Forming
from kvpaxos.paxos.rejoin import Disks

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
THREE = (A, B, C)


def formation(
    node: NodeId, *, forming: str = "", formed: bool = False, members: tuple[NodeId, ...] = THREE
) -> Formation:
    return Formation(
        node,
        members,
        forming=Forming(forming, node, members, 1) if forming else None,
        formed=Formed(forming) if formed else None,
        fresh_cluster=f"made by {node}",
    )


def test_the_coordinator_waits_until_it_has_heard_every_member() -> None:
    coordinator = formation(A)
    assert coordinator.begin() == NOTHING
    assert coordinator.heard(B, EMPTY) == NOTHING
    effects = coordinator.heard(C, EMPTY)
    assert effects.record == Forming("made by a", A, THREE, 1)
    assert effects.sends == ()


def test_the_coordinator_asks_the_others_only_once_its_own_record_is_durable() -> None:
    coordinator = formation(A)
    coordinator.heard(B, EMPTY)
    coordinator.heard(C, EMPTY)
    assert coordinator.heard(B, EMPTY) == NOTHING
    assert coordinator.standing == EMPTY
    effects = coordinator.persisted()
    form = Form("made by a", THREE)
    assert {(B, form), (C, form)} <= set(effects.sends)
    assert coordinator.standing == Standing("made by a")


def test_others_make_no_cluster() -> None:
    other = formation(B)
    assert other.heard(A, EMPTY) == other.heard(C, EMPTY) == NOTHING


def test_a_member_agrees_only_once_its_record_is_durable() -> None:
    member = formation(B)
    effects = member.asked(A, Form("x", THREE))
    assert effects == FormationEffects(Forming("x", B, THREE, 1))
    assert (A, Stands(Standing("x"))) in member.persisted().sends
    assert member.incarnation == 1


def test_a_member_agrees_again_without_another_record() -> None:
    member = formation(B, forming="x")
    effects = member.asked(A, Form("x", THREE))
    assert effects == FormationEffects(sends=((A, Stands(Standing("x"))),))


def test_a_member_that_is_not_formed_agrees_to_a_newer_id() -> None:
    member = formation(B, forming="x")
    assert member.asked(A, Form("y", THREE)).record == Forming("y", B, THREE, 1)


def test_a_formed_member_agrees_to_nothing_else() -> None:
    member = formation(B, forming="x", formed=True)
    effects = member.asked(A, Form("y", THREE))
    assert effects == FormationEffects(sends=((A, Stands(Standing("x", formed=True))),))


@pytest.mark.parametrize(("peer", "members"), [(C, THREE), (A, (A, B))])
def test_only_the_coordinator_of_the_same_members_is_heeded(
    peer: NodeId, members: tuple[NodeId, ...]
) -> None:
    assert formation(B).asked(peer, Form("x", members)) == NOTHING


def test_the_cluster_is_formed_once_all_have_agreed() -> None:
    coordinator = formation(A, forming="x")
    coordinator.heard(B, Standing("x"))
    assert coordinator.heard(C, EMPTY).sends == ((C, Form("x", THREE)),)
    assert coordinator.heard(C, Standing("x")).record == Formed("x")
    assert not coordinator.standing.formed
    assert set(coordinator.persisted().sends) == {
        (B, Stands(Standing("x", formed=True))),
        (C, Stands(Standing("x", formed=True))),
    }
    assert coordinator.standing.formed


def test_a_member_that_agreed_follows_whoever_is_formed() -> None:
    member = formation(C, forming="x")
    assert member.heard(B, Standing("x", formed=True)).record == Formed("x")


def test_a_formed_node_tells_the_one_that_is_not() -> None:
    member = formation(B, forming="x", formed=True)
    told = ((C, Stands(Standing("x", formed=True))),)
    assert member.heard(C, Standing("x")).sends == told


def test_an_empty_disk_in_a_formed_cluster_is_fatal() -> None:
    fatal = formation(B).heard(C, Standing("x", formed=True)).fatal
    assert fatal is not None
    assert "the cluster x is already formed" in fatal
    assert "disk is empty" in fatal


def test_another_id_in_a_formed_cluster_is_fatal() -> None:
    fatal = formation(A, forming="y").heard(C, Standing("x", formed=True)).fatal
    assert fatal is not None
    assert "x is already formed" in fatal
    assert "forming the cluster y" in fatal


def test_a_formed_node_heeds_no_other_cluster() -> None:
    member = formation(B, forming="x", formed=True)
    assert member.heard(C, Standing("y", formed=True)) == NOTHING
    assert member.standing == Standing("x", formed=True)


def test_a_reminder_repeats_what_may_have_been_lost() -> None:
    coordinator = formation(A, forming="x")
    coordinator.heard(B, Standing("x"))
    coordinator.heard(C, EMPTY)
    assert (C, Form("x", THREE)) in coordinator.remind().sends
    assert (A, Stands(Standing("x"))) in formation(B, forming="x").remind().sends
    assert formation(B, forming="x", formed=True).remind() == NOTHING


def test_a_cluster_of_one_forms_alone() -> None:
    alone = formation(A, members=(A,))
    assert alone.begin().record == Forming("made by a", A, (A,), 1)
    assert alone.persisted().record == Formed("made by a")
    assert alone.persisted() == NOTHING
    assert alone.standing.formed


def test_the_journal_of_another_node_is_refused() -> None:
    with pytest.raises(StartError, match="that of a, and this node is b"):
        Formation(B, THREE, forming=Forming("x", A, THREE, 1), formed=None, fresh_cluster="")


def test_other_members_than_the_journal_names_are_refused() -> None:
    with pytest.raises(StartError, match=r"members a, b, but the journal of b those .* a, b, c"):
        Formation(B, (A, B), forming=Forming("x", B, THREE, 1), formed=None, fresh_cluster="")


def test_a_formed_record_of_an_earlier_id_does_not_count() -> None:
    node = Formation(
        B, THREE, forming=Forming("y", B, THREE, 1), formed=Formed("x"), fresh_cluster=""
    )
    assert node.standing == Standing("y")


# The rest runs whole clusters, and crashes them between any two of: a record asked for, a
# record durable, a message sent, a message taken.

Action = tuple[str, NodeId, NodeId]


@dataclass
class World:
    """Members with disks, and the messages between them, in one queue for each pair."""

    members: tuple[NodeId, ...]
    disks: dict[NodeId, list[Forming | Formed]] = field(default_factory=dict)
    nodes: dict[NodeId, Formation] = field(default_factory=dict)
    writing: dict[NodeId, Forming | Formed] = field(default_factory=dict)
    queues: dict[tuple[NodeId, NodeId], list[FormationMessage]] = field(default_factory=dict)
    fatal: dict[NodeId, str] = field(default_factory=dict)
    boots: int = 0
    lost_disk: bool = False

    def __post_init__(self) -> None:
        self.queues = {(a, b): [] for a in self.members for b in self.members if a != b}
        for member in self.members:
            self.disks.setdefault(member, [])
            self.boot(member)

    def boot(self, node: NodeId) -> None:
        """Start ``node`` from its disk; its connections are new, so greetings go both ways."""
        self.boots += 1
        disk = self.disks[node]
        formings = [record for record in disk if isinstance(record, Forming)]
        formeds = [record for record in disk if isinstance(record, Formed)]
        self.nodes[node] = Formation(
            node,
            self.members,
            forming=formings[-1] if formings else None,
            formed=formeds[-1] if formeds else None,
            fresh_cluster=f"cluster {self.boots}",
        )
        self.writing.pop(node, None)
        self.fatal.pop(node, None)
        self.carry_out(node, self.nodes[node].begin())
        for peer in self.nodes.keys() - {node}:
            self.queues[node, peer] = [Stands(self.nodes[node].standing)]
            self.queues[peer, node] = [Stands(self.nodes[peer].standing)]

    def carry_out(self, node: NodeId, effects: FormationEffects) -> None:
        if effects.fatal is not None:
            self.fatal[node] = effects.fatal
            return
        for peer, message in effects.sends:
            self.queues[node, peer].append(message)
        if effects.record is not None:
            assert node not in self.writing
            self.writing[node] = effects.record

    def actions(self) -> list[Action]:
        """Whatever can happen next, crashes and reminders apart."""
        alive = [member for member in self.members if member not in self.fatal]
        syncs = [("sync", node, node) for node in alive if node in self.writing]
        takes = [
            ("take", sender, node)
            for (sender, node), queue in self.queues.items()
            if queue and node in alive
        ]
        return syncs + takes

    def act(self, action: Action) -> None:
        verb, sender, node = action
        if verb == "sync":
            self.disks[node].append(self.writing.pop(node))
            self.carry_out(node, self.nodes[node].persisted())
        elif verb == "take":
            match self.queues[sender, node].pop(0):
                case Form() as form:
                    self.carry_out(node, self.nodes[node].asked(sender, form))
                case Stands(standing):
                    self.carry_out(node, self.nodes[node].heard(sender, standing))
        self.check()

    def crash(self, node: NodeId) -> None:
        """Lose all but the disk, and start again."""
        self.boot(node)
        self.check()

    def remind(self) -> None:
        for node, machine in self.nodes.items():
            if node not in self.fatal and node not in self.writing:
                self.carry_out(node, machine.remind())

    def settle(self, choose: Callable[[list[Action]], Action]) -> None:
        """Let everything happen that can, reminders included, until nothing changes."""
        for _ in range(6):
            self.remind()
            while actions := self.actions():
                self.act(choose(actions))

    def formed(self) -> dict[NodeId, str]:
        """Which cluster each disk is formed in."""
        return {
            node: record.cluster
            for node, disk in self.disks.items()
            for record in disk
            if isinstance(record, Formed)
        }

    def check(self) -> None:
        """No two clusters; and if there is one, then all have durably agreed to it."""
        clusters = set(self.formed().values())
        assert len(clusters) <= 1, self.disks
        for cluster in clusters:
            for disk in () if self.lost_disk else self.disks.values():
                formings = [record for record in disk if isinstance(record, Forming)]
                assert formings, self.disks
                assert formings[-1].cluster == cluster, self.disks


def first(actions: list[Action]) -> Action:
    return actions[0]


def last(actions: list[Action]) -> Action:
    return actions[-1]


def _members(count: int) -> tuple[NodeId, ...]:
    return tuple(NodeId(f"n{number}") for number in range(count))


def _assert_formed(world: World) -> None:
    assert world.fatal == {}
    assert set(world.formed()) == set(world.members)
    assert len(set(world.formed().values())) == 1
    assert all(machine.standing.formed for machine in world.nodes.values())


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("choose", [first, last])
def test_a_calm_cluster_forms(count: int, choose: Callable[[list[Action]], Action]) -> None:
    world = World(_members(count))
    world.settle(choose)
    _assert_formed(world)
    assert [len(disk) for disk in world.disks.values()] == [2] * count


def _crash_points(count: int, choose: Callable[[list[Action]], Action]) -> Iterator[int]:
    """Yield a number for each step of a calm formation, and one for its end."""
    world = World(_members(count))
    step = 0
    while actions := world.actions():
        yield step
        world.act(choose(actions))
        step += 1
    yield step


@pytest.mark.parametrize("count", [1, 3])
def test_two_crashes_at_any_two_moments_leave_one_cluster(count: int) -> None:
    choose = last
    steps = list(_crash_points(count, choose))
    assert len(steps) > count
    members = _members(count)
    for one, other, at, later in product(members, members, steps, steps):
        world = World(members)
        for step in range(at + later):
            if step == at:
                world.crash(one)
            if actions := world.actions():
                world.act(choose(actions))
        world.crash(other)
        world.settle(choose)
        _assert_formed(world)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("seed", range(100))
def test_crashes_and_losses_at_random_leave_one_cluster(count: int, seed: int) -> None:
    random = Random(f"{count} {seed}")
    world = World(_members(count))
    rate = random.choice([0.02, 0.1, 0.3])
    for _ in range(random.randrange(10, 120)):
        if random.random() < rate:
            world.crash(random.choice(world.members))
        elif random.random() < rate:
            random.choice([[], *world.queues.values()]).clear()
        elif actions := world.actions():
            world.act(random.choice(actions))
        else:
            world.remind()
    world.settle(random.choice)
    _assert_formed(world)


@pytest.mark.parametrize("seed", range(50))
def test_a_disk_lost_while_forming_is_harmless_or_fatal(seed: int) -> None:
    """Whoever loses its disk may start over as long as nobody is formed, and never after."""
    random = Random(seed)
    world = World(_members(3))
    for _ in range(random.randrange(0, 40)):
        if actions := world.actions():
            world.act(random.choice(actions))
    loser = random.choice(world.members)
    world.disks[loser].clear()
    world.lost_disk = True
    world.boot(loser)
    survivors = world.formed()
    world.settle(random.choice)
    assert world.formed().items() >= survivors.items()
    if survivors:
        assert loser in world.fatal
        assert world.disks[loser] == []
    elif not world.fatal:
        _assert_formed(world)


# Coming back with a new disk.


def empty(
    node: NodeId,
    members: tuple[NodeId, ...] = THREE,
    *,
    may_form: bool = True,
    may_rejoin: bool = False,
) -> Formation:
    return Formation(
        node,
        members,
        forming=None,
        formed=None,
        fresh_cluster=f"made by {node}",
        may_form=may_form,
        may_rejoin=may_rejoin,
    )


FORMED_X = Standing("x", formed=True)


def test_a_disk_that_may_not_be_a_first_one_forms_nothing() -> None:
    coordinator = empty(A, may_form=False)
    coordinator.heard(B, EMPTY)
    assert coordinator.heard(C, EMPTY).record is None
    assert coordinator.remind().record is None
    assert empty(B, may_form=False).asked(A, Form("x", THREE)) == NOTHING


@pytest.mark.parametrize("may_form", [True, False])
def test_without_leave_an_empty_disk_beside_a_formed_cluster_is_fatal(may_form: bool) -> None:  # noqa: FBT001
    assert "--rejoin" in (empty(A, may_form=may_form).heard(B, FORMED_X).fatal or "")


def test_a_node_that_mends_its_journal_is_part_of_nothing_old_or_new() -> None:
    mending = Formation(
        A,
        THREE,
        forming=None,
        formed=None,
        fresh_cluster="made by a",
        may_form=False,
        may_rejoin=True,
        is_mending=True,
    )
    for peer in (B, C):
        assert mending.heard(peer, FORMED_X, ((A, 4),)) == NOTHING
    assert mending.asked(A, Form("y", THREE)) == NOTHING
    assert mending.remind().record is None
    assert mending.standing == EMPTY


def test_with_leave_it_waits_for_all_who_may_know_of_an_earlier_disk() -> None:
    back = empty(A, may_rejoin=True)
    assert not list(back.awaited)
    assert back.heard(B, FORMED_X, ((A, 4),)) == NOTHING
    assert list(back.awaited) == [C]
    # One that is not formed itself knows of nobody's votes.
    assert back.heard(C, EMPTY) == NOTHING
    assert list(back.awaited) == [C]
    effects = back.heard(C, FORMED_X, ((A, 2), (B, 7)))
    assert effects.record == Forming("x", A, THREE, 5)
    assert not list(back.awaited)


def test_of_five_members_any_three_are_enough() -> None:
    members = _members(5)
    back = empty(members[0], members, may_rejoin=True)
    for peer in members[1:3]:
        assert back.heard(peer, FORMED_X) == NOTHING
    assert back.awaited == members[3:]
    assert back.heard(members[4], FORMED_X).record == Forming("x", members[0], members, 2)


def test_a_new_disk_is_shown_once_it_is_durable() -> None:
    back = empty(B, may_rejoin=True)
    back.heard(A, FORMED_X)
    back.heard(C, FORMED_X)
    assert (back.incarnation, back.incarnations) == (0, ())
    effects = back.persisted()
    assert effects.record == Formed("x")
    assert (back.incarnation, back.incarnations) == (2, ((B, 2),))
    assert (A, Stands(Standing("x"), ((B, 2),))) in effects.sends
    assert back.persisted().record is None
    assert back.standing == FORMED_X


def test_a_disk_that_was_seen_is_told_of_before_anybody_has_noted_it_for_good() -> None:
    """Another one of its number would be taken for a copy of it."""
    met = Formation(
        A,
        THREE,
        forming=Forming("x", A, THREE, 1),
        formed=Formed("x"),
        fresh_cluster="z",
    )
    met.disks = Disks({C: 4})
    met.saw(B, 2)
    assert met.incarnations == ((B, 2), (C, 4))
    # Neither what is older nor a disk that is empty takes that back.
    met.saw(B, 1)
    met.saw(C, 3)
    ((_, news),) = met.heard(B, EMPTY).sends
    assert news == Stands(FORMED_X, ((B, 2), (C, 4)))
    # Only what is noted for good is shown with votes.
    assert met.disks.shown == ((C, 4),)

    back = empty(B, may_rejoin=True)
    back.heard(C, FORMED_X, ((C, 4),))
    assert back.heard(A, FORMED_X, news.incarnations).record == Forming("x", B, THREE, 3)


def test_a_disk_is_seen_when_its_node_says_that_it_is_formed() -> None:
    met = empty(A, may_form=False)
    met.heard(B, Standing("x"), ((B, 2),))
    assert not met.incarnations
    met.heard(B, FORMED_X, ((B, 2), (C, 4)))
    assert met.incarnations == ((B, 2),)


def test_leave_to_rejoin_does_not_make_a_swapped_disk_good() -> None:
    swapped = Formation(
        B,
        THREE,
        forming=Forming("y", B, THREE, 1),
        formed=None,
        fresh_cluster="z",
        may_rejoin=True,
    )
    assert "was forming the cluster y" in (swapped.heard(A, FORMED_X).fatal or "")
