"""Clients that send the same request again, with its identity, until they know what came of it.

Each appends elements that are its own to a few keys, one after another. So what the keys hold in
the end shows whether something was carried out twice, or lost, or in another order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.store.commands import Append
from kvpaxos.store.requests import Identity, Named, Numbered, encode_request
from test.simulator.agenda import Agenda
from test.simulator.clients import Clients, Request
from test.simulator.process import Process

KEYS = ("p", "q")

ELEMENT = re.compile(r"<(\w+)\.(\d+)>")

Element = tuple[str, int]
"""Whose it is, and which of them: 1, 2, 3, …"""


@dataclass
class Wanted:
    """One element that is to be appended.

    :ivar floor: the slot that was executed before it was asked for.
    :ivar requests: every time that it was asked for.
    :ivar given_up: its client went on without knowing whether it was there.
    """

    element: Element
    key: str
    body: bytes
    floor: Slot
    requests: list[Request] = field(default_factory=list)
    given_up: bool = False

    @property
    def done(self) -> bool:
        """Whether its client knows that it is there."""
        return any(one.result is not None and one.result.outcome == "ok" for one in self.requests)


class Appender:
    """One such client.

    :ivar wanted: all that it ever wanted to append.
    """

    def __init__(
        self,
        name: str,
        agenda: Agenda,
        random: Random,
        clients: Clients,
        nodes: Mapping[NodeId, Process],
        *,
        numbered: bool,
        pause_s: float,
    ) -> None:
        """Begin to append.

        :param numbered: whether it numbers its requests, or gives each a name.
        :param pause_s: how long it waits, in the mean, before it asks for the first time.
        """
        self.name = name
        self.numbered = numbered
        self.wanted: list[Wanted] = []
        self._agenda = agenda
        self._random = random
        self._clients = clients
        self._nodes = nodes
        self._pause_s = pause_s
        self._stopped = False
        self._later()

    @property
    def at_rest(self) -> bool:
        """Whether it waits for nothing any more."""
        return self._stopped and (not self.wanted or self.wanted[-1].done)

    def stop(self) -> None:
        """Want nothing new."""
        self._stopped = True

    def _later(self) -> None:
        """Ask again after a while: longer, up to a bound, if that was in vain."""
        tries = len(self.wanted[-1].requests) if self.wanted else 1
        pause_s = self._pause_s * min(tries, 3)
        self._agenda.after(self._random.uniform(0.5 * pause_s, 1.5 * pause_s), self._go)

    def _go(self) -> None:
        if self.at_rest:
            return
        node = self._random.choice([*self._nodes.values()])
        if node.replica is not None:
            wanted = self._choose()
            patience_s = self._random.choice((0.05, 0.5, 3.0))
            request = self._clients.send(
                node.name, wanted.key, wanted.body, wanted.floor, patience_s
            )
            wanted.requests.append(request)
        self._later()

    def _choose(self) -> Wanted:
        """Return the last element, until it is there, and sometimes after that; or the next one.

        A client may also lose its patience, and go on without knowing.
        """
        if self.wanted:
            last = self.wanted[-1]
            again = 0.2 if last.done else 0.95
            if self._stopped or self._random.random() < again:
                return last
            last.given_up = not last.done
        number = len(self.wanted) + 1
        key = self._random.choice(KEYS)
        identity = self._identify(number)
        body = encode_request(Append(key.encode(), f"<{self.name}.{number}>".encode()), identity)
        self.wanted.append(Wanted((self.name, number), key, body, self._clients.floor))
        return self.wanted[-1]

    def _identify(self, number: int) -> Identity:
        if self.numbered:
            return Numbered(self.name.encode(), number)
        return Named(f"{self.name}.{number}".encode())


def check_exactly_once(appenders: Sequence[Appender], values: Mapping[str, str]) -> None:
    """Compare what the keys hold in the end with what was wanted, and what was acknowledged."""
    held = {key: list(_elements(values.get(key, ""))) for key in KEYS}
    everything = [element for elements in held.values() for element in elements]
    assert len(set(everything)) == len(everything), f"something is there twice: {values}"
    for appender in appenders:
        for wanted in appender.wanted:
            if wanted.done:
                assert wanted.element in held[wanted.key], f"{wanted} is acknowledged and missing"
            assert all(wanted.element not in held[key] for key in KEYS if key != wanted.key)
        for key, elements in held.items():
            own = [number for name, number in elements if name == appender.name]
            if not appender.numbered:
                # Nothing forbids that what has a name is carried out when its client went on.
                own = [number for number in own if not appender.wanted[number - 1].given_up]
            assert own == sorted(own), f"{appender.name} finds {own} under {key}"


def _elements(value: str) -> Iterator[Element]:
    end = 0
    for found in ELEMENT.finditer(value):
        assert found.start() == end, f"{value} holds what nobody appended"
        end = found.end()
        yield found[1], int(found[2])
    assert end == len(value), f"{value} holds what nobody appended"
