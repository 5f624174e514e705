"""Links over real sockets: formation, messages, and connections that come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kvpaxos.errors import StartError
from kvpaxos.node.connection import Connection, LinkError
from kvpaxos.node.dialer import Dialer
from kvpaxos.node.link import Link
from kvpaxos.node.links import REMIND_S
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.formation import EMPTY, Standing, Stands
from kvpaxos.paxos.messages import Command
from kvpaxos.paxos.recall import Recall, Recalled, RecallMessage, Told
from kvpaxos.paxos.records import Formed, Forming, Seen
from kvpaxos.wire.framing import FRAME_BYTES_MAX
from kvpaxos.wire.greeting import Holds
from test.node.members import Cluster, Loopback, Member, reply, request, soon

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")


@pytest.fixture(params=["tcp", "unix"])
def directory(request: Any, tmp_path_factory: Any) -> Iterator[str | None]:
    if request.param == "tcp":
        yield None
    else:
        yield str(tmp_path_factory.mktemp("s"))


@pytest_twisted.async_yield_fixture
async def three(directory: str | None) -> AsyncIterator[Cluster]:
    cluster = Cluster(3, directory=directory)
    yield cluster
    await cluster.stop()


@pytest_twisted.ensureDeferred
async def test_three_empty_members_become_one_cluster(three: Cluster) -> None:
    members = three.start()
    await three.met()
    for member in members:
        assert member.said("formed") == [f"cluster of {A}"]
        assert member.disk[:2] == [
            Forming(f"cluster of {A}", member.node, three.names, 1),
            Formed(f"cluster of {A}"),
        ]


@pytest_twisted.ensureDeferred
async def test_a_member_alone_becomes_a_cluster_of_one() -> None:
    cluster = Cluster(1)
    (member,) = cluster.start()
    await member.until(lambda: bool(member.said("formed")))
    await cluster.stop()


@pytest_twisted.ensureDeferred
async def test_no_cluster_forms_before_the_last_member_is_there(three: Cluster) -> None:
    a, b = three.start(A, B)
    await soon(lambda: a.status(B)["dialed"] and a.status(B)["accepted"])
    assert a.disk == b.disk == []
    assert a.up() == b.up() == set()
    a.links.send(0, B, request(1))
    assert a.status(B)["dropped"] == {"no connection": 1}
    three.start(C)
    await three.met()
    assert a.said("formed") == b.said("formed") == [f"cluster of {A}"]


@pytest_twisted.ensureDeferred
async def test_a_formed_member_says_so_before_it_says_anything_else(three: Cluster) -> None:
    for member in await three.start_and_meet():
        assert member.events[0] == ("formed", "cluster")


@pytest_twisted.ensureDeferred
async def test_messages_arrive_in_order_with_sender_and_group(three: Cluster) -> None:
    a, b, _ = await three.start_and_meet()
    for number in range(100):
        a.links.send(number, B, request(number))
    await b.until(lambda: len(b.delivered) == 100)
    assert b.delivered == [(A, number, request(number)) for number in range(100)]
    assert a.status(B)["sent"] == b.status(A)["received"] == 100


@pytest_twisted.ensureDeferred
async def test_what_a_member_was_is_not_taken_for_what_it_is_if_word_of_it_comes_late(
    three: Cluster,
) -> None:
    """There are two connections with each member, and one may be slow."""
    a, b, _ = await three.start_and_meet()
    slow = b.links._links[A].dialed
    assert slow is not None
    slow.greet(Stands(EMPTY, ()))
    b.links.send(0, A, request(1))
    await a.until(lambda: a.status(B)["received"] + sum(a.status(B)["dropped"].values()) > 0)
    assert a.messages(B) == [request(1)]
    assert a.up() == {B, C}


@pytest_twisted.ensureDeferred
async def test_what_is_said_of_damaged_journals_travels_though_no_cluster_has_formed(
    three: Cluster,
) -> None:
    a, b = three.start(A, B)
    await soon(lambda: a.links.standings()[B] is not None)
    long = Told(0, Slot(1), (Command(A, 1, 1, 0, bytes(2 * FRAME_BYTES_MAX)),))
    said: list[RecallMessage] = [Recall(0, (Slot(1),)), long, Recalled(0, (Slot(1),), 1)]
    a.links.tell(B, said)
    a.links.tell(C, said)
    await soon(lambda: len(b.recalls) == len(said))
    assert b.recalls == [(A, message) for message in said]
    assert not a.said("formed")

    b.links.switches.set(A, B, state="cut")
    a.links.tell(B, said)
    await soon(lambda: b.status(A)["dropped"].get("switched off", 0) >= len(said))
    assert len(b.recalls) == len(said)


@pytest_twisted.ensureDeferred
async def test_requests_take_the_connection_one_dialed_and_replies_the_other(
    three: Cluster,
) -> None:
    """A deaf node is dialed by nobody: it gets no requests, and its replies have no way."""
    a, b, _ = await three.start_and_meet()
    await b.links.deafen()
    await a.until(lambda: B not in a.up())
    assert a.status(B)["accepted"]
    b.links.send(0, A, request(1))
    await a.until(lambda: a.messages(B) == [request(1)])
    a.links.send(0, B, reply(1))
    await b.until(lambda: b.messages(A) == [reply(1)])
    a.links.send(0, B, request(2))
    b.links.send(0, A, reply(2))
    assert a.status(B)["dropped"] == b.status(A)["dropped"] == {"no connection": 1}


@pytest_twisted.ensureDeferred
async def test_a_deaf_member_is_dialed_again_once_it_listens(three: Cluster) -> None:
    a, b, c = await three.start_and_meet()
    await b.links.deafen()
    await a.until(lambda: B not in a.up())
    await c.until(lambda: B not in c.up())
    await b.until(lambda: {A, C} <= set(b.said("hung up")))
    assert b.up() == {A, C}
    await b.links.listen()
    await three.met()
    a.links.send(0, B, request(1))
    await b.until(lambda: b.messages(A) == [request(1)])


@pytest_twisted.ensureDeferred
async def test_a_member_that_restarts_is_lost_and_dialed_again(three: Cluster) -> None:
    a, _, c = await three.start_and_meet()
    await three.stop(B)
    await a.until(lambda: B not in a.up())
    await c.until(lambda: B not in c.up())
    (b,) = three.start(B)
    await three.met()
    assert a.events.count(("dialed", B)) == 2
    assert a.events.count(("lost", B)) == 1
    a.links.send(0, B, request(1))
    await b.until(lambda: b.messages(A) == [request(1)])


@pytest_twisted.ensureDeferred
async def test_a_member_that_comes_back_is_dialed_without_waiting_for_the_next_attempt(
    three: Cluster,
) -> None:
    a, _, _ = await three.start_and_meet()
    await three.stop(B)
    await a.until(lambda: B not in a.up())
    dialer = a.links._links[B].dialer
    # As if it had been away for long.
    dialer._attempt = 1000
    three.start(B)
    await three.met()
    assert dialer._attempt == 0


@pytest_twisted.ensureDeferred
async def test_an_empty_disk_in_a_formed_cluster_stops_its_node_only(three: Cluster) -> None:
    a, _, c = await three.start_and_meet()
    await three.stop(B)
    three.disks[B] = []
    (b,) = three.start(B)
    await b.until(lambda: bool(b.said("fatal")))
    assert "the cluster cluster is already formed" in b.said("fatal")[0]
    assert "this node's disk is empty" in b.said("fatal")[0]
    assert b.disk == []
    assert b.said("formed") == []
    a.links.send(0, C, request(1))
    await c.until(lambda: c.messages(A) == [request(1)])
    assert len(b.said("fatal")) == 1


def test_a_lost_disk_is_named_once_a_run_on_however_many_connections_it_shows() -> None:
    def says(run: str, standing: Standing) -> bool:
        connection = cast(Connection, SimpleNamespace(theirs=SimpleNamespace(process=run)))
        assert link.hear(connection, standing, ())
        return link.is_new_loss(connection)

    link = Link(B, cast(Dialer, None))
    assert not says("one", Standing("c", formed=True))
    assert [says("two", EMPTY), says("two", EMPTY), says("three", EMPTY)] == [True, False, True]


@pytest_twisted.ensureDeferred
async def test_a_member_that_had_agreed_catches_up_with_the_formed_cluster(
    three: Cluster,
) -> None:
    three.form()
    del three.disks[C][1]
    *_, c = three.start()
    await three.met()
    assert c.said("formed") == ["cluster"]
    assert c.disk[1] == Formed("cluster")


@pytest_twisted.ensureDeferred
async def test_a_member_whose_news_of_being_formed_was_lost_says_it_again(three: Cluster) -> None:
    """Though it takes the other one for a formed member itself, as that one is."""
    clock = Clock()
    three.form()
    del three.disks[C][1]
    _, b = three.start(A, B)
    (c,) = three.start(C, clock=clock)
    c.writing = Deferred()
    await soon(lambda: b.status(C)["dialed"] and b.status(C)["accepted"])
    c.links.switches.set(C, B, state="cut")
    c.writing.callback(None)
    await c.until(lambda: c.reaches({A, B}))
    c.links.switches.heal()
    assert not b.reaches({C})
    clock.advance(REMIND_S)
    await b.until(lambda: b.reaches({C}))


@pytest_twisted.ensureDeferred
async def test_a_member_that_is_heard_is_not_told_again_that_this_one_is_formed(
    three: Cluster,
) -> None:
    """To send messages it must know."""
    three.form()
    a, b, _ = three.start(clock=Clock())
    await three.met()
    b.links.send(0, A, request(1))
    await a.until(lambda: a.messages(B) == [request(1)])
    a.links.switches.set(A, B, state="cut")
    a.links._remind()
    assert a.status(B)["dropped"] == {}


@pytest_twisted.ensureDeferred
async def test_another_cluster_is_refused_with_both_ids(three: Cluster) -> None:
    three.form()
    three.disks[B] = [Forming("another", B, three.names, 1), Formed("another")]
    a, b, c = three.start()
    await a.until(lambda: C in a.up())
    await c.until(lambda: A in c.up())
    await refusal(a, B)
    await refusal(b, A)
    assert B not in a.up()
    assert b.up() == set()
    assert b.said("fatal") == []
    sentences = a.links.complaints._logged[B] | b.links.complaints._logged[A]
    assert any("cluster another" in text and "to cluster:" in text for text in sentences)


@pytest_twisted.ensureDeferred
async def test_other_members_are_refused_with_both_lists() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.start(A)
    stray = Member(B, (A, B), cluster.dialers, cluster.listeners[B], disk=[])
    cluster.members[B] = stray
    stray.links.startService()
    await refusal(stray, A)
    (sentence,) = [text for text in stray.links.complaints._logged[A] if "refuses" in text]
    assert "n02 is set up for the members n01, n02, and n01 for n01, n02, n03" in sentence
    await cluster.stop()


@pytest_twisted.ensureDeferred
async def test_a_node_with_an_older_disk_is_refused(three: Cluster) -> None:
    a, _, c = await three.start_and_meet()
    await three.stop(B)
    three.boots[B] = 0
    await a.until(lambda: B not in a.up())
    (again,) = three.start(B, boot=2)
    await three.met()
    await three.stop(B)
    await a.until(lambda: B not in a.up())
    (backup,) = three.start(B, boot=1)
    await refusal(backup, A)
    await refusal(backup, C)
    assert again.said("fatal") == []
    assert any("old backup" in sentence for sentence in backup.links.complaints._logged[A])
    assert B not in a.up()
    assert a.up() == {C}
    assert c.up() == {A}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("young", [False, True], ids=["formed long ago", "just formed"])
async def test_a_copy_of_a_node_that_runs_is_refused_and_the_node_is_not_disturbed(
    young: bool,  # noqa: FBT001
    three: Cluster,
) -> None:
    if not young:
        three.form()
    a, b, _ = three.start()
    await three.met()
    clone = Member(B, three.names, three.dialers, Loopback(), disk=list(b.disk), process="clone")
    clone.links.startService()
    await refusal(clone, A)
    assert any("two processes" in text for text in clone.links.complaints._logged[A])
    assert clone.up() == set()
    assert a.said("lost") == []
    a.links.send(0, B, request(1))
    await b.until(lambda: b.messages(A) == [request(1)])
    await clone.links.stopService()


@pytest_twisted.ensureDeferred
async def test_a_copy_of_an_earlier_moment_of_the_last_run_is_refused(three: Cluster) -> None:
    a, b, c = await three.start_and_meet()
    b.holds = Holds(20, "14")
    await soon(lambda: a.status(B)["records"] == c.status(B)["records"] == 20)
    await three.stop(B)
    (copy,) = three.start(B, holds=Holds(15, "0f"))
    for member in (A, C):
        await refusal(copy, member)
        assert any(
            "a journal of 15 records, but 20 were seen" in sentence
            for sentence in copy.links.complaints._logged[member]
        )
    assert copy.up() == set()
    await three.stop(B)
    three.start(B, holds=Holds(21, "15"))
    await three.met()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("boot", "records", "sentence"),
    [
        (1, 30, "run 1 of its disk"),
        (2, 30, "two processes call themselves n02 in run 2"),
        (3, 15, "a journal of 15 records, but 20 were seen"),
    ],
    ids=["an earlier run", "another run of that number", "a shorter journal"],
)
async def test_an_older_disk_is_refused_by_members_that_were_started_again_since(
    three: Cluster, boot: int, records: int, sentence: str
) -> None:
    three.form()
    three.boots[B] = 1
    a, _, c = three.start()
    await three.met()
    three.members[B].holds = Holds(20, "14")
    await soon(lambda: a.status(B)["records"] == c.status(B)["records"] == 20)
    for member in three.names:
        await three.stop(member)
    three.start(A, C)
    (copy,) = three.start(B, boot=boot, process="copy", holds=Holds(records, "0f"))
    for member in (A, C):
        await refusal(copy, member)
        assert any(sentence in text for text in copy.links.complaints._logged[member])
    assert copy.up() == set()


@pytest_twisted.ensureDeferred
async def test_members_do_not_write_for_ever_that_others_wrote_what_they_had_seen(
    three: Cluster,
) -> None:
    """Each note makes a journal longer, which the others see."""
    clock = Clock()
    three.form()
    members = three.start(clock=clock)
    await three.met()

    def noted() -> int:
        for member in members:
            member.holds = Holds(len(member.disk), f"{len(member.disk):02x}")
        return sum(isinstance(record, Seen) for member in members for record in member.disk)

    counts = []
    for _ in range(20):
        counts.append(noted())
        clock.advance(REMIND_S)
        await soon(
            lambda: all(
                one.status(other.node)["records"] == other.holds.records
                for one in members
                for other in members
                if one is not other
            )
        )
    assert counts[10] == counts[-1] <= 2 * len(members) * len(members)


@pytest_twisted.ensureDeferred
async def test_a_process_that_was_set_back_with_its_disk_is_refused_before_it_says_a_word(
    three: Cluster,
) -> None:
    """As by the snapshot of a virtual machine: even its random word is the old one."""
    a, b, c = await three.start_and_meet()
    b.holds = Holds(20, "14")
    await soon(lambda: a.status(B)["records"] == c.status(B)["records"] == 20)
    b.holds = Holds(9, "09")
    heard = len(a.delivered)
    for connection in b.links._greeted():
        connection.drop(LinkError("lost", "the machine was set back"))
    for member in (a, c):
        await refusal(b, member.node)
        await member.until(lambda: B not in member.up())  # noqa: B023 -- it is awaited here
    b.links.send(0, A, request(1))
    for _ in range(3):
        await refusal(b, A)
    assert len(a.delivered) == heard


@pytest_twisted.ensureDeferred
async def test_a_cut_link_still_tells_how_far_journals_have_come(three: Cluster) -> None:
    """And counts no loss for it: what is told belongs to the greetings."""
    a, b, _ = await three.start_and_meet()
    a.links.switches.set(None, None, state="cut")
    b.holds = Holds(20, "14")
    await soon(lambda: a.status(B)["records"] == 20)
    assert a.status(B)["dropped"] == {}


@pytest_twisted.ensureDeferred
async def test_a_journal_that_does_not_grow_is_not_told_of_again(three: Cluster) -> None:
    clock = Clock()
    three.form()
    a, b, _ = three.start(clock=clock)
    await three.met()
    told = a.links._links[B].told
    assert told == a.holds
    a.holds = Holds(5, "05")
    clock.advance(REMIND_S)
    await soon(lambda: b.status(A)["records"] == 5)
    assert a.links._links[B].told is a.holds
    a.holds = Holds(5, "05")
    clock.advance(REMIND_S)
    assert a.links._links[B].told is not a.holds


@pytest_twisted.ensureDeferred
async def test_a_wrong_address_disturbs_nobody(three: Cluster) -> None:
    """n01 dials n03 where it means n02; its true connection to n03 stays."""
    three.form()
    three.dialers[B] = three.dialers[C]
    (a,) = three.start(A)
    three.start(C)
    await a.until(lambda: C in a.up())
    await refusal(a, B)
    assert any("n02 was dialed, but this is n03" in text for text in a.links.complaints._logged[B])
    assert a.said("lost") == []


@pytest_twisted.ensureDeferred
async def test_what_is_wrong_again_and_again_is_logged_once(three: Cluster) -> None:
    three.form()
    three.disks[B] = [Forming("another", B, three.names, 1), Formed("another")]
    a, b, _ = three.start()
    for _ in range(5):
        await refusal(a, B)
    assert len(a.links.complaints._logged[B]) <= 2
    assert a.links.complaints.counts["refused"] >= 5
    assert b.up() == set()


@pytest_twisted.ensureDeferred
async def test_an_address_that_is_taken_stops_the_node_with_a_sentence(three: Cluster) -> None:
    await three.start_and_meet()
    second = Member(B, three.names, three.dialers, three.listeners[B], boot=9)
    with pytest.raises(StartError, match=r"stop (what holds the address|it), or give this node"):
        await second.links.listen()
    second.links.startService()
    await second.until(lambda: bool(second.said("fatal")))
    await second.links.stopService()


async def refusal(member: Member, peer: NodeId) -> None:
    """Wait until ``member`` has one more complaint, and one about ``peer``."""
    complaints = member.links.complaints
    before = complaints.counts["refused"]
    await soon(lambda: complaints.counts["refused"] > before and peer in complaints._logged)
