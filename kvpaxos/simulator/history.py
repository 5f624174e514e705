"""What clients were told, held against the log: that, and once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from kvpaxos.paxos.ballot import Slot
from kvpaxos.simulator.checker import Checker
from kvpaxos.simulator.clients import Request
from kvpaxos.store.commands import Append, Get
from kvpaxos.store.requests import Numbered, encode_request


def check_acknowledged(checker: Checker, requests: Iterable[Request]) -> None:
    """Check that all that was acknowledged is in the log, where it was said to be."""
    for request in requests:
        if request.ending != "done" or isinstance(request.operation, Get):
            continue
        identity = Numbered(request.client.encode(), request.opid)
        body = encode_request(request.operation, identity)
        results = [
            checker.executed[command.node, command.life, command.sequence][1]
            for command in checker.log.get(Slot(request.slot), ())
            if command.body == body
        ]
        if not results:
            checker.fail(
                f"{request.client} was told that its request {request.opid} was executed in slot"
                f" {request.slot}, and it is not there"
            )
        elif request.result not in results:
            checker.fail(
                f"{request.client} was told {request.result} of its request {request.opid}, and"
                f" what came of it is {results[0]}"
            )


def check_appended(checker: Checker, requests: Iterable[Request]) -> None:
    """Check that all that was appended is there once, and what may have been at most once.

    Nothing but appends ever touches those keys.
    """
    for request in requests:
        if not isinstance(request.operation, Append):
            continue
        held = checker.get(request.operation.key).split(b" ")
        times = held.count(request.operation.value.strip())
        if times > 1 or (times == 0 and request.ending == "done"):
            checker.fail(
                f"what {request.client} has appended with its request {request.opid}"
                f" ({request.ending}) is there {times} times"
            )
