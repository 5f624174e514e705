"""Kills, pauses, cuts off and fills real nodes under load, and judges all that clients saw.

Run as ``python -m test.chaos.run --minutes 5`` it goes on for so long; ``make chaos`` does that. It
prints its seed. The same seed brings the same plan of clients and faults, though not the same
moments: processes and disks have a chance of their own. What was seen is judged twice: an order is
looked for in which every answer is right, and the log is replayed. If anything is wrong, the
history, the log and a picture are kept, and the exit status is 1.
"""

# ruff: noqa: T201  (a script, which is there to print)

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

from kvpaxos.checking.history import Call
from kvpaxos.checking.linearizability import check
from kvpaxos.checking.lines import call_line
from kvpaxos.checking.log import read_slot
from kvpaxos.checking.oracle import replay
from kvpaxos.checking.picture import draw
from kvpaxos.checking.words import break_words
from test.chaos.clients import Client, Recorder
from test.chaos.faults import OPTIONS, Faults
from test.processes.cluster import Cluster, Node, cluster
from test.processes.states import wait_for_equal_states
from test.processes.test_full_disks import DISK_BYTES, SmallDisk

CLIENTS: Final = 8

STORAGE: Final = {"snapshot_slots": 1_000_000_000}
"""Nothing but age has the state flushed: the log is read again before much of it is forgotten."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    :ivar troubles: what is wrong, in sentences.
    :ivar figures: what happened, and how often.
    """

    calls: Sequence[Call]
    slots: Sequence[dict[str, Any]]
    troubles: Sequence[str]
    figures: dict[str, object]


class LogReader:
    """Reads the decided log of nodes that run, before they forget it.

    :ivar slots: from slot 1 on, as ``/kvman/journal`` shows them.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.slots: list[dict[str, Any]] = []
        self._nodes = nodes

    def read_on(self, node: Node) -> None:
        """Read all that ``node`` has decided beyond what is known."""
        following: int | None = len(self.slots) + 1
        while following is not None:
            page = _page(node, following)
            for slot in page["slots"]:
                assert slot["slot"] == len(self.slots) + 1, f"{node.name} has forgotten slots"
                self.slots.append(slot)
            following = page["next"]

    def compare(self, node: Node) -> Iterator[str]:
        """Yield in which slots ``node`` knows something else."""
        first = max(1, len(self.slots) - 999)
        for slot in _page(node, first)["slots"]:
            known = self.slots[slot["slot"] - 1 : slot["slot"]]
            if known and known[0]["digest"] != slot["digest"]:
                yield f"{node.name} has another batch in slot {slot['slot']}"


def _page(node: Node, first: int) -> dict[str, Any]:
    reply = node.send("GET", "/kvman/journal", {"from": f"{first}", "limit": "1000"})
    assert reply.status == 200, reply
    page: dict[str, Any] = reply.body
    return page


def run(cluster: Cluster, seed: str, seconds: float, disk: SmallDisk | None) -> Outcome:
    """Start ``cluster``, do harm to it for ``seconds``, and judge what clients saw."""
    random = Random(seed)
    record = Recorder()
    clients = [
        Client(f"c{number}", cluster.nodes, Random(f"{seed}.{number}"), record)
        for number in range(CLIENTS)
    ]
    cluster.start(options=OPTIONS)
    faults, log = Faults(cluster, random, disk), LogReader(cluster.nodes)
    for client in clients:
        client.start()
    try:
        _storm(faults, log, cluster, random, seconds)
    finally:
        for client in clients:
            client.stop()
    for client in clients:
        client.join()
    wait_for_equal_states(cluster.nodes)
    log.read_on(cluster.nodes[0])
    return _judge([*record.calls, *faults.asked], log, cluster, faults)


def _storm(
    faults: Faults, log: LogReader, cluster: Cluster, random: Random, seconds: float
) -> None:
    ends = time.monotonic() + seconds
    calm = time.monotonic() + 10
    while time.monotonic() < ends:
        faults.strike()
        # So long do things stay as they are: that is what is tested, and no event ends it.
        time.sleep(random.uniform(0.1, 1.0))
        if random.random() < 0.5:
            faults.mend()
            time.sleep(random.uniform(0.1, 1.0))
        if time.monotonic() > calm:
            faults.settle()
            log.read_on(random.choice(cluster.nodes))
            calm = time.monotonic() + 10
    faults.settle()


def _judge(calls: Sequence[Call], log: LogReader, cluster: Cluster, faults: Faults) -> Outcome:
    verdict = check(calls)
    troubles = [line for found in verdict.breaks for line in break_words(found)]
    troubles += [f"key {key!r} is undecided" for key in verdict.undecided]
    slots = [read_slot(json.dumps(slot).encode()) for slot in log.slots]
    troubles += replay(slots, calls)
    troubles += [trouble for node in cluster.nodes for trouble in log.compare(node)]
    troubles += [
        f"{node.name}: {line}"
        for node in cluster.nodes
        for line in node.lines
        if "Traceback" in line
    ]
    figures: dict[str, object] = {
        "calls": dict(Counter(call.outcome for call in calls)),
        "reads": dict(Counter(call.read for call in calls if call.read)),
        "keys": verdict.keys,
        "slots": len(slots),
        "faults": dict(faults.counts),
        "visited": verdict.visited,
        "steps": verdict.steps,
        "verdict": verdict.outcome,
    }
    return Outcome(calls, log.slots, troubles, figures)


def keep(outcome: Outcome, directory: Path) -> None:
    """Write down what was seen, and draw it."""
    directory.mkdir(parents=True, exist_ok=True)
    history = b"".join(map(call_line, outcome.calls))
    (directory / "history.jsonl").write_bytes(history)
    lines = "".join(json.dumps(slot) + "\n" for slot in outcome.slots)
    (directory / "log.jsonl").write_text(lines)
    (directory / "troubles.txt").write_text("\n".join(outcome.troubles) + "\n")
    for number, found in enumerate(check(outcome.calls).breaks):
        (directory / f"break-{number}.svg").write_text(draw(found))


@contextmanager
def small_disk(place: Path) -> Iterator[SmallDisk | None]:
    """Provide a small file system at ``place``, or nothing if none can be mounted here."""
    place.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        yield None
        return
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode:  # noqa: S603
        yield None
        return
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run([umount, "--lazy", str(place)], check=True)  # noqa: S603


def main(arguments: Sequence[str]) -> int:
    """Run for some minutes, or seconds, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m test.chaos.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", default=f"{SystemRandom().randrange(10**6)}")
    parser.add_argument("--transport", choices=("tcp", "unix"), default=None)
    parser.add_argument("--keep", type=Path, default=Path("chaos"))
    asked = parser.parse_args(arguments)
    transport = asked.transport or Random(asked.seed).choice(("tcp", "unix"))
    print(f"seed {asked.seed}, {transport}, {asked.minutes:g} minutes", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as place,
        small_disk(Path(place, "n02")) as disk,
        cluster(Path(place), 3, transport, storage=STORAGE) as made,
    ):
        outcome = run(made, asked.seed, asked.minutes * 60, disk)
    for name, figure in outcome.figures.items():
        print(f"{name}: {figure}")
    for trouble in outcome.troubles:
        print(trouble)
    if outcome.troubles:
        keep(outcome, asked.keep)
        print(f"broken; what was seen is kept in {asked.keep}", file=sys.stderr)
        return 1
    print("all answers are right")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
