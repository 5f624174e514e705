"""One of three real disks is filled to its last byte: by others, while its node serves on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvpaxos.config.cluster import ClusterStorage
from kvpaxos.node.space import Marks
from test.processes.cluster import START_S, Cluster, Node, cluster

pytestmark = pytest.mark.timeout(180)

MIB = 1024 * 1024
MARKS = Marks.of(ClusterStorage())
DISK_BYTES = MARKS.remake_bytes + 64 * MIB
"""The reserve is made on an empty one, beside the journal and the state."""


class SmallDisk:
    """A file system of its own, on which there may be a file that takes all there is."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.filler = place / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take all room but ``leave`` bytes, to the last one."""
        with self.filler.open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(MIB))
            except OSError:
                self._fill_up(filler.fileno())
            if leave:
                filler.truncate(filler.tell() - leave)

    def _fill_up(self, handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_END)
        try:
            while True:
                os.write(handle, bytes(4096))
        except OSError:
            assert self.free() == 0

    def free(self) -> int:
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_frsize

    def clear(self) -> None:
        self.filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    place = tmp_path / "n02"
    place.mkdir()
    if (mount := shutil.which("mount")) is None or (umount := shutil.which("umount")) is None:
        pytest.skip("no file system can be mounted here: there is no command for it")
    mounted = subprocess.run(  # noqa: S603  (our own arguments)
        [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield SmallDisk(place)
    subprocess.run([umount, "--lazy", str(place)], check=True)  # noqa: S603  (likewise)


@pytest.fixture
def three(tmp_path: Path, disk: SmallDisk) -> Iterator[Cluster]:  # noqa: ARG001  (it is mounted)
    """Three nodes that serve; the second one on the small disk, with its reserve."""
    with cluster(tmp_path) as made:
        made.start()
        until(made.nodes[1], lambda told: told["disk"]["reserve_held"])
        yield made


def until(node: Node, reached: Callable[[dict[str, dict[str, object]]], object]) -> None:
    """Return once the status of ``node`` is as ``reached`` wants it."""
    deadline = time.monotonic() + START_S
    while not reached(told := node.ask("GET", "/kvman/status").body):
        assert time.monotonic() < deadline, told


def assert_all_agree(three: Cluster, count: int) -> None:
    for node in three.nodes:
        for number in range(count):
            assert node.ask("GET", "/kv/get", key=f"k{number}").body["value"] == f"v{number}"


def test_a_full_node_refuses_what_would_fill_it_and_recovers_by_itself(
    three: Cluster, disk: SmallDisk
) -> None:
    n01, n02, n03 = three.nodes
    for number in range(10):
        node = three.nodes[number % 3]
        assert node.ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done

    disk.fill()
    until(n02, lambda told: told["alarm"] and not told["disk"]["reserve_held"])
    n02.wait_for_line("the reserve of 32 MiB was given up")

    refused = n02.ask("POST", "/kv/set", key="k0", value="lost")
    assert (refused.status, refused.body["applied"]) == (507, "no")
    assert refused.headers["retry-after"] == "5"
    assert "nearly full" in refused.body["message"]
    # All else goes on: there, and everywhere.
    assert n02.ask("POST", "/kv/insert", key="gone", value="x").status == 507
    assert n01.ask("POST", "/kv/insert", key="gone", value="x").done
    assert n02.ask("GET", "/kv/get", key="gone").done
    assert n02.ask("POST", "/kv/delete", key="gone").done
    assert n02.ask("GET", "/readyz").status == 200
    alarm = n02.ask("GET", "/kvman/status").body["alarm"]
    assert "nearly full" in alarm
    for number in range(10, 20):
        node = (n01, n03)[number % 2]
        assert node.ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done
    assert_all_agree(three, 20)

    disk.clear()
    n02.wait_for_line("the disk of this node has room again")
    assert n02.ask("POST", "/kv/set", key="k20", value="v20").done
    until(n02, lambda told: told["disk"]["reserve_held"])
    assert_all_agree(three, 21)
    assert len([line for line in n02.lines if "nearly full" in line]) == 1
    assert not [line for node in three.nodes for line in node.lines if "Traceback" in line]


def test_a_node_starts_again_on_a_disk_that_was_filled_meanwhile(
    three: Cluster, disk: SmallDisk
) -> None:
    n01, n02, _ = three.nodes
    for number in range(5):
        assert n02.ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done
    three.kill(n02)
    for number in range(5, 10):
        assert n01.ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done
    disk.fill()

    three.start(n02)
    assert_all_agree(three, 10)
    assert n02.ask("POST", "/kv/set", key="k0", value="lost").status == 507
    # Also in good order, and with what others made of the room that was given up.
    disk.fill(leave=MIB)
    assert three.signal(n02, signal.SIGTERM) in (0, -signal.SIGTERM)
    assert not [line for line in n02.lines if "Traceback" in line]

    three.start(n02)
    assert n02.ask("POST", "/kv/delete", key="k0").done
    assert n01.ask("POST", "/kv/set", key="k0", value="v0").done
    disk.clear()
    n02.wait_for_line("the disk of this node has room again")
    assert n02.ask("POST", "/kv/set", key="k10", value="v10").done
    assert_all_agree(three, 11)


def test_without_a_byte_to_start_with_one_sentence_says_what_to_free(
    three: Cluster, disk: SmallDisk
) -> None:
    _, n02, _ = three.nodes
    assert n02.ask("POST", "/kv/set", key="k0", value="v0").done
    three.kill(n02)
    (disk.place / "reserve").unlink()
    disk.fill()

    three.launch(n02)
    line = n02.wait_for_line("cannot be opened: IO error: No space left on device")
    assert line.endswith("; free some space there, and start the node again.")
    assert ended(n02) == 2

    disk.clear()
    three.start(n02)
    assert_all_agree(three, 1)


def test_without_any_room_a_node_stops_with_one_sentence_and_loses_nothing(
    three: Cluster, disk: SmallDisk
) -> None:
    n01, n02, _ = three.nodes
    disk.fill()
    n02.wait_for_line("the reserve of 32 MiB was given up")
    disk.fill()
    # Its peers' writes take what its segments have left, or RocksDB's memory.
    written = 0
    while not any(" crit" in line for line in n02.lines):
        key, value = f"k{written}", f"v{written}"
        assert n01.ask("POST", "/kv/set", key="large", value="x" * (MIB - 100)).done
        assert n01.ask("POST", "/kv/set", key=key, value=value).done
        written += 1
        assert written < 100
    [said] = [line for line in n02.lines if " crit" in line]
    assert said.rstrip(".").endswith("free some space there, and start the node again")
    assert ended(n02) == 1
    assert not [line for line in n02.lines if "Traceback" in line]
    assert n01.ask("POST", "/kv/set", key="after", value="x").done

    disk.clear()
    three.start(n02)
    assert_all_agree(three, written)
    assert n02.ask("GET", "/kv/get", key="after").done


def ended(node: Node) -> int:
    """Return the exit status of ``node``, which ends by itself."""
    assert node.process is not None
    status = node.process.wait(timeout=START_S)
    node.process = None
    return status


def make_lead(three: Cluster, node: Node) -> None:
    """Stop whoever leads, until ``node`` does."""
    for _ in range(10):
        leader = three.leader()
        if leader is node:
            return
        three.signal(leader, signal.SIGTERM)
        three.start(leader)
    raise AssertionError(f"{node.name} does not come to lead")


def test_a_leader_on_a_full_disk_hands_over_and_follows(three: Cluster, disk: SmallDisk) -> None:
    n01, n02, n03 = three.nodes
    make_lead(three, n02)
    assert n02.ask("POST", "/kv/set", key="k0", value="v0").done
    disk.fill(leave=MARKS.disk_low_bytes // 2)
    n02.wait_for_line("the disk of this node is nearly full")
    line = n02.wait_for_line("leads, with ballot")
    assert "this node" not in line
    said = len(n02.lines)

    leader = three.leader()
    assert leader in (n01, n03)
    for number in range(1, 10):
        node = (n01, n03)[number % 2]
        assert node.ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done
    assert n02.ask("POST", "/kv/set", key="k0", value="lost").status == 507
    assert_all_agree(three, 10)
    assert three.leader() is leader

    disk.clear()
    n02.wait_for_line("the disk of this node has room again")
    assert n02.ask("POST", "/kv/set", key="k10", value="v10").done
    assert_all_agree(three, 11)
    # To have room again is no reason to lead again.
    assert three.leader() is leader
    assert not any("this node leads" in line for line in n02.lines[said:])


def test_a_leader_on_a_full_disk_still_serves_the_clients_of_others(
    three: Cluster, disk: SmallDisk
) -> None:
    n01, n02, _ = three.nodes
    disk.fill(leave=MARKS.disk_low_bytes // 2)
    n02.wait_for_line("the disk of this node is nearly full")
    for number in range(5):
        assert n01.ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done
    assert_all_agree(three, 5)
