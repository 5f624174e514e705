"""Clients that connect and say nothing, stop in the middle of a sentence, or hang up."""

from __future__ import annotations

import resource
import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest

from kvpaxos.node.requests import REQUESTS_MAX
from test.processes.cluster import START_S, TWISTD, Cluster, Node, cluster
from test.processes.states import wait_for

pytestmark = pytest.mark.timeout(180)

CROWD = 1000
WAVES = 4
WAVE = 40
WRITES = 10
HANGING_UP = 300

IDLE_S = 2
"""How long a node waits here for the rest of a request, instead of a minute."""

HURRIED = (
    sys.executable,
    "-c",
    f"""
from dataclasses import replace
from kvpaxos.node.http.limits import HttpLimits
from twisted.scripts.twistd import run
usual = HttpLimits.of
HttpLimits.of = lambda cluster: replace(usual(cluster), idle_s_max={IDLE_S})
run()
""",
)
"""A twistd whose nodes are less patient."""

FRUGAL = ("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh", TWISTD)
"""A twistd that is started where few open files are allowed unless one asks for more."""

MIB = 1024 * 1024


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve, and room for a crowd of sockets in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * CROWD)), hard))
    with cluster(tmp_path) as made:
        yield made
        # None of it is worth a word in a log.
        for node in made.nodes:
            assert not any("Traceback" in line for line in node.lines), node.lines
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(node: Node) -> socket.socket:
    """Return a connection with ``node``."""
    return socket.create_connection(("127.0.0.1", node.port), timeout=START_S)


def request(key: str, value: str, **others: str) -> bytes:
    """Return an append, as it is on its way."""
    body = urlencode({"key": key, "value": value, **others}).encode()
    head = f"POST /kv/append HTTP/1.1\r\nHost: n01\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def is_thrown_out(client: socket.socket, data: bytes) -> bool:
    """Send ``data`` a byte at a time; return whether the other end closed before all was sent."""
    for byte in data:
        client.sendall(bytes([byte]))
        closed, _, _ = select.select([client], [], [], IDLE_S / 10)
        if closed:
            return client.recv(1) == b""
    return False


def resident_bytes(node: Node) -> int:
    """Return how much memory ``node`` has."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def open_files(node: Node) -> int:
    """Return how many files and sockets ``node`` has open."""
    assert node.process is not None
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


@contextmanager
def idle_crowd(node: Node) -> Iterator[None]:
    """Have many clients connect, of which every other one has asked something before."""
    with ExitStack() as crowd:
        for number in range(CROWD):
            client = crowd.enter_context(connect(node))
            if number % 2:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: n01\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200")
        yield


def write_some(node: Node, wave: int) -> None:
    for number in range(WRITES):
        assert node.ask("POST", "/kv/set", key=f"{wave}-{number}", value="v").done


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_a_thousand_idle_connections_hold_up_nobody_and_leave_nothing_behind(
    three: Cluster,
) -> None:
    three.twistd = FRUGAL
    three.start()
    leader = three.leader()
    limit = leader.ask("GET", "/kvman/limits").body["connections_max"]
    write_some(leader, 0)
    files, size = open_files(leader), resident_bytes(leader)
    sizes = []
    for wave in range(1, WAVES + 1):
        with idle_crowd(leader):
            write_some(leader, wave)
            # The longest idle ones have had to go; a few more are on their way out.
            assert open_files(leader) - files < limit + 32
        sizes.append(resident_bytes(leader))
    assert sizes[0] - size < 16 * MIB, (size, sizes)
    # What the first crowd took serves the others, too.
    assert sizes[-1] - sizes[0] < 4 * MIB, (size, sizes)
    assert leader.ask("GET", "/kvman/countkey").body == {"result": WRITES * (WAVES + 1)}


def test_a_request_that_never_becomes_whole_is_given_up(three: Cluster) -> None:
    three.twistd = HURRIED
    three.start()
    leader = three.leader()
    whole = request("k", "v" * 100)
    with ExitStack() as open_ones:
        halves = [open_ones.enter_context(connect(leader)) for _ in range(50)]
        for number, client in enumerate(halves):
            client.sendall(whole[: 1 + number * (len(whole) - 2) // len(halves)])
        # One of them sends on, a byte at a time: that is no reason to wait longer.
        slow = open_ones.enter_context(connect(leader))
        assert is_thrown_out(slow, whole)
        for client in halves:
            assert client.recv(4096) == b""
        assert leader.ask("GET", "/kv/get", key="k").body["success"] == "false"


def test_a_write_whose_client_hangs_up_is_done_or_not_but_never_half(three: Cluster) -> None:
    three.start()
    random = Random(0)
    sent, cut, acknowledged = set(), set(), set()
    for number in range(HANGING_UP):
        node = three.nodes[number % 3]
        token = f"<{number}:{'x' * random.randrange(200)}>"
        whole = request("k", token)
        with connect(node) as client:
            match random.randrange(3):
                case 0:
                    cut.add(token)
                    client.sendall(whole[: random.randrange(1, len(whole))])
                case 1:
                    sent.add(token)
                    client.sendall(whole)
                case _:
                    acknowledged.add(token)
                    client.sendall(whole)
                    assert client.recv(4096).startswith(b"HTTP/1.1 200")
            if random.random() < 0.5:
                # As if its process were killed: no farewell, a reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # What is still on its way comes before these.
    for node in three.nodes:
        assert node.ask("POST", "/kv/set", key="end", value=node.name).done
    values = {node.ask("GET", "/kv/get", key="k").body["value"] for node in three.nodes}
    (value,) = values
    tokens = [f"<{token}" for token in value.split("<")[1:]]
    assert len(tokens) == len(set(tokens))
    assert acknowledged <= set(tokens) <= acknowledged | sent
    assert cut.isdisjoint(tokens)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_writes_whose_clients_are_gone_wait_for_a_quorum_and_are_bounded(three: Cluster) -> None:
    """They outlive their connections, so the bound on connections does not bound them."""
    three.start()
    node, *others = three.nodes
    three.kill(*others)
    size = resident_bytes(node)
    taken = 0
    while taken < REQUESTS_MAX:
        # So few at once that they are no crowd.
        for number in range(taken, min(taken + WAVE, REQUESTS_MAX)):
            with connect(node) as client:
                client.sendall(request("k", "x", timeout="60", client=f"c{number}", opid="1"))
        taken = _requests(node)
    refused = node.ask("POST", "/kv/append", key="k", value="y")
    assert (refused.status, refused.body["applied"]) == (503, "no")
    assert "requests are waiting" in refused.body["message"]
    assert resident_bytes(node) - size < 48 * MIB
    three.start(*others)
    # What nobody waits for any more is carried out all the same, and makes room.
    # Of all of it: whoever still waits to be read takes the first places that get free.
    wait_for(lambda: _requests(node) == 0)
    assert node.ask("POST", "/kv/append", key="k", value="z", timeout="60").done
    value = node.ask("GET", "/kv/get", key="k").body["value"]
    # The node itself reads now and then, and waits in the same line.
    assert REQUESTS_MAX - WAVE < value.count("x") <= REQUESTS_MAX
    assert value == "x" * value.count("x") + "z"


def _requests(node: Node) -> int:
    """How many requests wait at a node."""
    return int(node.ask("GET", "/kvman/status").body["requests"])
