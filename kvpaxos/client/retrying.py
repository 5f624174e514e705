"""Which node is asked next, after what pause, and when to give up. No clock, no chance, no IO.

A request is sent again only if that can do no harm:

* a read changes nothing;
* a write with an identity is carried out once, however often it arrives;
* any other write may have been carried out unless it certainly was not: nobody took the
  connection, or a node says so. In doubt it is given up as unknown.

A node that just failed is asked last. Another one is asked at once; only when all have failed there
is a pause, which grows. All of it ends at the deadline of the call.

A node that is cut off takes requests and has no answer to them. So the first attempts are short, as
many as there are nodes that can be cut off while the others still make a quorum; those after them
take half of the time that is left. The short ones follow what answers usually take: where all nodes
are slow, one call is sent twice, and then the client knows. No second request goes out beside one
that is waited for: that would answer a little sooner, and double the load when it is highest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final, TypeAlias, assert_never

from kvpaxos.errors import Applied

PAUSE_S_MIN: Final = 0.05
"""The first pause, once every node has failed. Each further round doubles it."""

PAUSE_S_MAX: Final = 1.0
"""No pause is longer, but for one that a node asks for."""

TROUBLE_S: Final = 10.0
"""For so long a node that failed is asked last."""

ATTEMPT_S_MIN: Final = 0.5
"""An attempt may take half of the time that is left, so that another node can be asked too; but
not less than this, and all of it if the rest would be of no use."""

ANSWER_S_MIN: Final = 0.1
"""With less time than this nobody is asked again: a node could hardly answer, and a call that has
certainly changed nothing so far would be in doubt."""

HASTE_S_MIN: Final = 0.5
"""The first attempts of a call are cut shorter still (see `Retrying`), but not below this: nodes
take about as long to miss a leader, and one that is about to find another shall not be left."""

USUAL_TIMES: Final = 4.0
"""Nor are they cut below so many times what answers usually take: a cluster that is slow, and
nothing worse, is not to get each request twice."""

USUAL_SHARE: Final = 1 / 8
"""What is usual rises at once with an answer that takes longer, and falls by this share of the
difference with one that does not."""

NODE_SHARE: Final = 0.9
"""The share of an attempt that the node may use, so that its answer still arrives."""

ROAD_S: Final = 0.1
"""An answer is given so long for its way, though never more than half of the attempt."""

NODE_S_MIN: Final = 0.001
NODE_S_MAX: Final = 60.0
"""Nodes take no shorter and no longer deadlines."""


class Kind(Enum):
    """What sending a request again can do."""

    READ = "it changes nothing"
    IDENTIFIED = "it is carried out once, however often it is sent"
    UNIDENTIFIED = "it may be carried out once more"


@dataclass(frozen=True, slots=True)
class Settled:
    """A node answered. Also "the key exists" is an answer."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A node found that the request makes no sense or is forbidden, and so would every other."""

    why: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt brought no answer.

    :ivar applied: whether this attempt may have been carried out.
    :ivar rest_s: for how long the node asked to be left alone.
    :ivar everywhere: whether it would be the same at every node.
    :ivar silent: whether nothing came in the time that there was, and no more is known.
    """

    why: str
    applied: Applied
    rest_s: float = 0.0
    everywhere: bool = False
    silent: bool = False


Happened: TypeAlias = Settled | Rejected | Trouble


@dataclass(frozen=True, slots=True)
class Try:
    """Ask ``node``, with the same identity as before.

    :ivar delay_s: the pause before that.
    :ivar wait_s: how long to wait for its answer then.
    """

    node: str
    delay_s: float
    wait_s: float

    @property
    def timeout_s(self) -> float:
        """The deadline to give to the node."""
        share_s = min(NODE_SHARE * self.wait_s, max(self.wait_s - ROAD_S, self.wait_s / 2))
        return min(max(share_s, NODE_S_MIN), NODE_S_MAX)


@dataclass(frozen=True, slots=True)
class Accept:
    """What the last attempt brought is the outcome of the call."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The call fails. ``applied`` speaks of all of its attempts together."""

    why: str
    applied: Applied


Step: TypeAlias = Try | Accept | GiveUp


@dataclass(frozen=True, slots=True)
class _Mark:
    """A node that failed, and when, and until when it wants to be left alone."""

    failed_at: float
    rests_until: float


class Nodes:
    """The nodes of a cluster, and what all calls of a client have learned about them.

    :param urls: the nodes; where nothing else counts, an earlier one is asked before a later one.
    :param names: the addresses of those nodes whose names are known.
    :ivar leader: the name of the node that leads, as the last answer had it, or the empty string.
    """

    def __init__(self, urls: Sequence[str], names: Mapping[str, str]) -> None:
        assert urls, "a cluster has nodes"
        self.urls = tuple(urls)
        self.leader = ""
        self._names = dict(names)
        self._marks: dict[str, _Mark] = {}
        self._usual_s: dict[Kind, float] = {}

    @property
    def spare(self) -> int:
        """How many nodes can fail while the others still make a quorum."""
        return (len(self.urls) - 1) // 2

    @property
    def nameless(self) -> list[str]:
        """The nodes whose names are not known yet."""
        known = set(self._names.values())
        return [url for url in self.urls if url not in known]

    def learn(self, name: str, url: str) -> None:
        """Take note of the name of the node at ``url``."""
        self._names[name] = url

    def hear(self, leader: str) -> bool:
        """Take note of the name of the leader, and return whether it is of any use.

        An empty name says that the node which answered knows of none.
        """
        self.leader = leader
        return not leader or leader in self._names

    def answered(self, node: str) -> None:
        """Trust ``node`` again."""
        self._marks.pop(node, None)

    def took(self, kind: Kind, took_s: float) -> None:
        """Take note of how long an answer took."""
        usual_s = self._usual_s.get(kind, 0.0)
        calmer_s = usual_s + USUAL_SHARE * (took_s - usual_s)
        self._usual_s[kind] = max(took_s, calmer_s)

    def haste_s(self, kind: Kind) -> float:
        """Return after how long without an answer another node had better be asked."""
        return max(HASTE_S_MIN, USUAL_TIMES * self._usual_s.get(kind, 0.0))

    def failed(self, node: str, now: float, rest_s: float) -> None:
        """Ask ``node`` last for a while, and leave it alone for ``rest_s`` if possible."""
        self._marks[node] = _Mark(now, now + rest_s)

    def choose(self, now: float, *, leader_first: bool) -> tuple[str, float]:
        """Return the node to ask next, and how long it still wants to be left alone."""
        leader = self._names.get(self.leader)
        order = dict.fromkeys([leader, *self.urls] if leader and leader_first else self.urls)
        # min() takes the first of equals, so the order decides among nodes without trouble.
        node = min(order, key=lambda url: self._failed_at(url, now))
        mark = self._marks.get(node)
        return node, max(0.0, mark.rests_until - now) if mark else 0.0

    def _failed_at(self, node: str, now: float) -> float:
        mark = self._marks.get(node)
        if mark is None or now - mark.failed_at >= TROUBLE_S:
            return float("-inf")
        return mark.failed_at


class Retrying:
    """The attempts of one call: each step says what to do now.

    To wait no longer for an answer undoes nothing: what was sent may be carried out at any time. So
    only what may be sent again has short attempts; anything else has all of the time for one.

    :param kind: what sending the request again can do.
    :param leader_first: whether the leader is asked first: it answers writes soonest.
    :param deadline: when the call must be over, on the caller's clock.
    """

    def __init__(
        self, kind: Kind, nodes: Nodes, random: Random, *, leader_first: bool, deadline: float
    ) -> None:
        self._kind = kind
        self._nodes = nodes
        self._random = random
        self._leader_first = leader_first
        self._deadline = deadline
        self._attempts = 0
        self._node = ""
        self._asked_at = 0.0
        self._is_last = False
        self._in_doubt = False
        self._troubles: dict[str, str] = {}

    def first(self, now: float) -> Try | GiveUp:
        """Return whom to ask first."""
        return self._try(now)

    def after(self, happened: Happened, now: float) -> Step:
        """Return what to do after the last attempt ended like this."""
        match happened:
            case Settled():
                self._nodes.answered(self._node)
                self._nodes.took(self._kind, now - self._asked_at)
                return Accept()
            case Rejected(why):
                self._nodes.answered(self._node)
                return GiveUp(why, "unknown") if self._in_doubt else Accept()
            case Trouble(why, applied, rest_s, everywhere, silent):
                self._nodes.failed(self._node, now, rest_s)
                doubtful = self._kind is not Kind.READ and applied == "unknown"
                if not silent or doubtful:
                    self._troubles[self._node] = why
                else:
                    # What it said before tells more than its silence, which may be of our haste.
                    self._troubles.setdefault(self._node, why)
                self._in_doubt = self._in_doubt or doubtful
                harmful = self._in_doubt and self._kind is Kind.UNIDENTIFIED
                if everywhere or harmful or self._is_last:
                    return self._give_up()
                return self._try(now)
            case _:
                assert_never(happened)

    def _try(self, now: float) -> Try | GiveUp:
        left_s = self._deadline - now
        if left_s <= 0.0 or (self._attempts and left_s < ANSWER_S_MIN):
            return self._give_up()
        self._node, rest_s = self._nodes.choose(now, leader_first=self._leader_first)
        delay_s = max(rest_s, self._pause_s())
        if delay_s > left_s / 2:
            # There is no time for the whole pause and then a fair attempt: one more, and the end.
            delay_s = max(0.0, min(left_s / 2, left_s - ANSWER_S_MIN))
            self._is_last = True
        wait_s = self._wait_s(left_s - delay_s)
        self._attempts += 1
        self._asked_at = now + delay_s
        return Try(self._node, delay_s, wait_s)

    def _pause_s(self) -> float:
        """Return how long to wait before this attempt: not at all while there are fresh nodes."""
        if self._node not in self._troubles:
            return 0.0
        rounds = self._attempts // len(self._nodes.urls)
        longest = min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** min(rounds - 1, 16))
        # A random part, so that clients which failed together do not come back together.
        return longest * self._random.uniform(0.5, 1.0)

    def _wait_s(self, left_s: float) -> float:
        if self._is_last or self._kind is Kind.UNIDENTIFIED or len(self._nodes.urls) == 1:
            return left_s
        wait_s = max(left_s / 2, ATTEMPT_S_MIN)
        if self._attempts < self._nodes.spare:
            wait_s = min(wait_s, self._nodes.haste_s(self._kind))
        return wait_s if left_s - wait_s >= ATTEMPT_S_MIN / 2 else left_s

    def _give_up(self) -> GiveUp:
        told = "; ".join(f"{node}: {why}" for node, why in self._troubles.items())
        why = told or "there was no time left to ask a node"
        return GiveUp(why, "unknown" if self._in_doubt else "no")
