"""Who hears whom."""

from __future__ import annotations

from random import Random

from kvpaxos.node.switches import Switches
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.testing.partition import Partition, Throw

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def fresh(node: NodeId) -> Switches:
    return Switches(node, (A, B, C), random=Random(0), allowed=True)


def throw(switches: Switches) -> Throw:
    return lambda sender, receiver, state: switches.set(sender, receiver, state=state)


class Three:
    """Three nodes and what their switches say."""

    def __init__(self) -> None:
        self.partition = Partition((A, B, C))
        self.switches = {node: fresh(node) for node in (A, B, C)}
        for node, switches in self.switches.items():
            self.partition.attach(node, throw(switches))

    def lost(self) -> set[str]:
        """Return the directions that are cut, at both of their ends."""
        lost = set()
        for sender in (A, B, C):
            for receiver in {A, B, C} - {sender}:
                at_sender = self.switches[sender].sending(receiver).cut
                assert self.switches[receiver].receiving(sender).cut == at_sender
                if at_sender:
                    lost.add(f"{sender}{receiver}")
        return lost


def test_at_first_everybody_hears_everybody() -> None:
    assert Three().lost() == set()


def test_sides_do_not_hear_each_other_and_who_is_on_none_is_alone() -> None:
    three = Three()
    three.partition.divide((A, B))
    assert three.lost() == {"ac", "ca", "bc", "cb"}
    three.partition.divide()
    assert three.lost() == {"ab", "ba", "ac", "ca", "bc", "cb"}
    three.partition.divide((A,), (B, C))
    assert three.lost() == {"ab", "ba", "ac", "ca"}


def test_sides_may_share_a_node_which_is_a_bridge_then() -> None:
    three = Three()
    three.partition.divide((A, B), (B, C))
    assert three.lost() == {"ac", "ca"}


def test_a_cut_is_one_way_and_heals_all_others() -> None:
    three = Three()
    three.partition.cut([(A, B)])
    assert three.lost() == {"ab"}
    three.partition.cut([(C, B)])
    assert three.lost() == {"cb"}
    three.partition.heal()
    assert three.lost() == set()


def test_cuts_outlast_a_restart_and_change_while_a_node_is_away() -> None:
    three = Three()
    three.partition.detach(B)
    three.partition.divide((A,), (B, C))
    three.switches[B] = fresh(B)
    three.partition.attach(B, throw(three.switches[B]))
    assert three.lost() == {"ab", "ba", "ac", "ca"}


def test_what_else_was_done_to_a_link_stays() -> None:
    three = Three()
    three.switches[A].set(A, B, delay_s=0.5)
    three.partition.divide((A,), (B, C))
    three.partition.heal()
    assert three.switches[A].sending(B).delay_s == 0.5
