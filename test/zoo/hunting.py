"""Looks for the first seed whose world shows a bug."""

from __future__ import annotations

import faulthandler
import re
from collections.abc import Iterable
from dataclasses import dataclass
from time import process_time
from typing import Final

from kvpaxos.simulator.run import simulate
from test.zoo.bug import Bug

RULES: Final = (
    ("wrong disk", r"runs on the disk of"),
    ("life used twice", r"begins life \d+ a second time"),
    ("promise kept", r"has shown the promise|the promise of \S+ fell"),
    ("vote kept", r"has shown its vote"),
    ("votes told", r"is not told of the vote"),
    ("lawful", r"(votes under|confirms) .*, and has promised"),
    ("durable first", r"before it is durable|has not written it down"),
    ("written down", r"its journal shows that of no"),
    ("enough reports", r"would know that earlier ones are void|the others had come further"),
    ("number used twice", r"a second disk of|noted for an earlier one"),
    ("wrong disks refused", r"is on an old disk or a copy"),
    ("votes that agree", r"some hold that others have lost"),
    ("earlier disks", r"votes on its disk"),
    ("reports", r"is not told that"),
    ("no false alarm", r"has given its disk up"),
    ("orderly stop", r"was stopped in good order"),
    ("kept", r"says that its state is kept|its journal may lose"),
    ("whole states", r"has taken over is not whole|and not through which"),
    ("quorum", r"who are no majority"),
    ("one offer", r"two batches were offered"),
    ("obliged", r"has offered another batch"),
    ("learned first", r"had not learned what"),
    ("no way back", r"another batch was offered"),
    ("one decision", r"has decided another batch"),
    ("equal states", r"is not what the log gives|which nobody has decided"),
    ("executed once", r"was executed twice"),
    ("acknowledged", r"was told that its request|was told Result|says that the request"),
    ("one answer", r"answers .* to the request"),
    ("linearizable", r"is not linearizable"),
    ("stale reads", r"a stale read of"),
    ("answers of the log", r"it names slot|it should be|executes no such|was executed \d+ times"),
    ("fresh reads", r"was decided before it was asked to"),
    ("appended once", r"what \S+ has appended"),
    ("all whole again", r"the nodes are not whole"),
    ("refused", r"and had it decided"),
    ("settled", r"not settled who leads"),
    ("a majority serves", r"are a majority, and serve nobody"),
    ("no error unforeseen", r"unforeseen|not foreseen|nobody has handled an error"),
)
"""What the simulator checks, each with what its sentences look like."""

HANG_S: Final = 300.0
"""A run that takes longer than this has gone wrong: its process ends, and says where it was."""


@dataclass(frozen=True, slots=True)
class Catch:
    """A bug that was found.

    :ivar seed: the one that showed it.
    :ivar seeds: how many were tried, it included.
    :ivar seconds: of CPU time, for all of them.
    :ivar last_s: of CPU time, for the one that showed it.
    :ivar rule: which rule noticed.
    """

    seed: int
    seeds: int
    seconds: float
    last_s: float
    rule: str
    sentence: str


def rule_of(sentence: str) -> str:
    """Return the name of the rule that ``sentence`` says was broken."""
    for name, pattern in RULES:
        if re.search(pattern, sentence):
            return name
    return f"? {sentence}"


def hunt(bug: Bug, seeds: Iterable[int]) -> Catch | None:
    """Try ``seeds`` in order, and return what the first one shows that shows the bug."""
    began = process_time()
    for number, seed in enumerate(seeds, 1):
        before = process_time()
        sentence = sentence_of(bug, seed)
        if sentence is not None:
            now = process_time()
            rule = rule_of(sentence)
            return Catch(seed, number, now - began, now - before, rule, sentence)
    return None


def sentence_of(bug: Bug, seed: int) -> str | None:
    """Run the world of ``seed`` with the bug in it, and return which rule was broken, if any."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        with bug.planted():
            return simulate(seed).wrong
    finally:
        faulthandler.cancel_dump_traceback_later()
