"""Where dumps come from: whichever node begins one."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from kvpaxos.client.calls import Calls
from kvpaxos.client.dump import Range, Stream
from kvpaxos.client.exchange import Exchange, headers_of
from kvpaxos.client.replies import Outcome, Reply, Understood, read_refusal
from kvpaxos.client.requests import Request
from kvpaxos.client.retrying import Kind, Nodes, Try

_OK: Final = 200


class Streams:
    """Begins dumps.

    :param timeout_s: how long beginning one may take, and every wait for more of it.
    :param pair_bytes_max: the longest pair that is taken, as it is spelled.
    """

    def __init__(
        self,
        calls: Calls,
        exchange: Exchange,
        nodes: Nodes,
        clock: IReactorTime,
        *,
        timeout_s: float,
        pair_bytes_max: int,
    ) -> None:
        self._calls = calls
        self._exchange = exchange
        self._nodes = nodes
        self._clock = clock
        self._timeout_s = timeout_s
        self._pair_bytes_max = pair_bytes_max

    async def open(self, part: Range) -> Stream:
        """Begin a dump.

        :raises KvPaxosError: no node does.
        """
        limit = None if part.limit is None else b"%d" % part.limit
        request = Request("GET", "/kvman/dump", {"after": part.after, "limit": limit}, {})

        async def attempt(step: Try) -> Understood[Stream]:
            return await self._exchange.within(step.wait_s, self._begin(request, step))

        deadline = self._clock.seconds() + self._timeout_s
        return await self._calls.call(Kind.READ, attempt, deadline, leader_first=False)

    async def _begin(self, request: Request, step: Try) -> Understood[Stream]:
        response = await self._exchange.open(step.node, request.sent(step.timeout_s))
        if response.code == _OK:
            stream = Stream(
                self._clock,
                idle_s_max=self._timeout_s,
                pair_bytes_max=self._pair_bytes_max,
                broke=lambda: self._nodes.failed(step.node, self._clock.seconds(), 0.0),
            )
            response.deliverBody(stream)
            return Outcome(stream)
        body = await self._exchange.collect(response)
        return read_refusal(Reply(step.node, response.code, headers_of(response), body))
