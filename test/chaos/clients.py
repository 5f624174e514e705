"""Clients of real nodes: they ask for all there is, and write down what they saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from kvpaxos.checking.history import UNTOLD, Call, Dump, KeyOperation, Pairs, Told, WholeOperation
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Set,
    Update,
)
from kvpaxos.store.requests import Named, Numbered
from test.processes.cluster import Node, Reply, Unreachable

PATHS: Final = {
    Insert: "/kv/insert",
    Update: "/kv/update",
    Delete: "/kv/delete",
    Set: "/kv/set",
    CompareAndSet: "/kv/cas",
    Append: "/kv/append",
    Get: "/kv/get",
    Count: "/kvman/countkey",
    Dump: "/kvman/dump",
}

TIMEOUT_S: Final = 2.0
"""How long a node may take; it says so by then."""

PATIENCE_S: Final = 4.0
"""A node that says nothing for so long is paused, or dead."""

KEYS: Final = 6
"""So many keys are in use at a time."""

KEY_CALLS: Final = 400
"""After so many calls, all clients together, other keys are used: appends make long values."""


@dataclass
class Recorder:
    """All that clients saw, by one clock.

    :ivar calls: in the order in which they ended.
    """

    calls: list[Call] = field(default_factory=list)
    begun: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> int:
        """Return the number of a call that begins: no other has it."""
        with self._lock:
            self.begun += 1
            return self.begun

    def end(self, call: Call) -> None:
        with self._lock:
            self.calls.append(call)


@dataclass
class Seen:
    """What a client knows of a request so far."""

    outcome: str = "failed"
    told: Told = UNTOLD
    pairs: Pairs = ()
    slot: int | None = None
    read: str | None = None

    @property
    def settled(self) -> bool:
        return self.outcome in {"done", "refused"}


class Client:
    """Asks random nodes for random things, one after another, until it is stopped."""

    def __init__(self, name: str, nodes: Sequence[Node], random: Random, record: Recorder) -> None:
        self.name = name
        self.trouble: BaseException | None = None
        self._nodes = nodes
        self._random = random
        self._record = record
        self._opid = 0
        self._last: dict[bytes, bytes | None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), f"{self.name} does not come to an end"
        if self.trouble is not None:
            raise self.trouble

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._ask():
                    # Nodes that are down refuse at once: somebody may have news of them soon.
                    self._stop.wait(0.02)
        except BaseException as error:  # noqa: BLE001 -- whoever joins is told
            self.trouble = error

    def _ask(self) -> bool:
        """Make one call, and return whether it got an answer."""
        number = self._record.begin()
        operation = self._operation(number)
        identity: Numbered | Named | None = None
        given = _parameters(operation)
        if not isinstance(operation, Dump) and self._random.random() < 0.5:
            if self._random.random() < 0.5:
                self._opid += 1
                identity = Numbered(self.name.encode(), self._opid)
                given |= {"client": self.name, "opid": f"{self._opid}"}
            else:
                identity = Named(b"r%d" % number)
                given["requestid"] = f"r{number}"
        elif isinstance(operation, Get) and self._random.random() < 0.1:
            given["consistency"] = "stale"
        began = time.monotonic()
        seen = Seen()
        # Without an identity a request is sent once only: it could be carried out twice.
        for _ in range(5 if identity else 1):
            self._send(operation, given, seen)
            if seen.settled or self._stop.is_set():
                break
        call = Call(
            self.name,
            operation,
            began,
            time.monotonic(),
            seen.outcome,  # type: ignore[arg-type]
            seen.told,
            seen.pairs,
            seen.slot,
            seen.read,
            identity,
        )
        self._record.end(call)
        if isinstance(operation, Get) and call.told is not UNTOLD:
            self._last[operation.key] = call.told
        return seen.settled

    def _operation(self, number: int) -> KeyOperation | WholeOperation:
        random = self._random
        key = f"k{number // KEY_CALLS}.{random.randrange(KEYS)}".encode()
        value = b"%d;" % number
        known = self._last.get(key)
        choices: list[Callable[[], KeyOperation | WholeOperation]] = [
            lambda: Insert(key, value),
            lambda: Update(key, value),
            lambda: Delete(key),
            lambda: Set(key, value),
            lambda: CompareAndSet(key, known, value),
            lambda: Append(key, value),
            lambda: Get(key),
        ]
        if random.random() < 0.02:
            return random.choice((Count(), Dump()))
        return random.choices(choices, (2, 1, 1, 1, 2, 3, 4))[0]()

    def _send(
        self, operation: KeyOperation | WholeOperation, given: dict[str, str], seen: Seen
    ) -> None:
        method = "GET" if isinstance(operation, Get | Count | Dump) else "POST"
        node = self._random.choice(self._nodes)
        try:
            asked = given if isinstance(operation, Dump) else {**given, "timeout": f"{TIMEOUT_S}"}
            reply = node.send(method, PATHS[type(operation)], asked, PATIENCE_S)
        except (Unreachable, ValueError):
            # A dump that breaks off is no JSON.
            seen.outcome = "unknown"
            return
        _note(operation, reply, seen)


def _parameters(operation: KeyOperation | WholeOperation) -> dict[str, str]:
    given = {}
    for name in ("key", "value", "expect"):
        raw = getattr(operation, name, None)
        if raw is not None:
            given[name] = raw.decode()
    return given


def _note(operation: KeyOperation | WholeOperation, reply: Reply, seen: Seen) -> None:
    """Add what ``reply`` says to what is known of the request."""
    body: Any = reply.body
    done = reply.status == 200 and (isinstance(body, list) or body.get("success") != "false")
    if not done and (reply.status != 200 or "applied" in body):
        assert reply.status in {200, 503, 504, 507}, (operation, reply)
        if body["applied"] == "unknown":
            seen.outcome = "unknown"
        return
    seen.outcome = "done" if done else "refused"
    seen.slot = int(reply.headers["x-kvpaxos-slot"])
    seen.read = reply.headers["x-kvpaxos-read"]
    if isinstance(body, list):
        seen.pairs = tuple((key.encode(), value.encode()) for key, value in body)
    elif isinstance(operation, Count):
        seen.told = b"%d" % body["result"]
    elif isinstance(operation, CompareAndSet) and not done:
        seen.told = None if body["value"] is None else body["value"].encode()
    elif done and isinstance(operation, Update | Delete | Append | Get):
        seen.told = body["value"].encode()
