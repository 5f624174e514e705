"""One request to a cluster, and its answer on standard output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

from kvpaxos.cli.arguments import Asked
from kvpaxos.cli.nodes import named_nodes
from kvpaxos.cli.output import print_json, print_value, visible
from kvpaxos.cli.running import run
from kvpaxos.client.client import Client
from kvpaxos.client.requests import member
from kvpaxos.client.results import Answer
from kvpaxos.errors import BadRequest, ConditionFailed, KeyMissing, KvPaxosError

T = TypeVar("T")

_CURRENT_SHOWN_MAX: Final = 200
"""Characters that are shown of a value which is not the expected one."""

_DONE: Final[Mapping[str, str]] = {
    "insert": "inserted",
    "set": "set",
    "cas": "set",
    "update": "updated; it held: {}",
    "delete": "deleted; it held: {}",
    "append": "appended; it holds: {}",
}
"""What a terminal is told of a write, with the value that comes of it."""


def show_value(asked: Asked, key: bytes, *, stale: bool) -> None:
    """Print what ``key`` holds.

    :raises KeyMissing: there is no such key.
    """

    def found(answer: Answer | None) -> Answer:
        if answer is None:
            raise KeyMissing("There is no such key, so there is nothing to read.", key)
        return answer

    answer = _ask(asked, lambda client: client.get(key, stale=stale).addCallback(found))
    _show(asked, key, answer, "{}")


def write(asked: Asked, verb: str, key: bytes, value: bytes | None, requestid: str | None) -> None:
    """Carry out the write that ``verb`` names, and print what comes of it."""
    given = [key] if value is None else [key, value]
    answer = _ask(asked, lambda client: getattr(client, verb)(*given, requestid=requestid))
    _show(asked, key, answer, _DONE[verb])


def compare_and_set(
    asked: Asked, key: bytes, expect: bytes | None, value: bytes, requestid: str | None
) -> None:
    """Store ``value`` if ``key`` holds what is expected; None expects that it is not there."""
    answer = _ask(asked, lambda client: client.cas(key, expect, value, requestid=requestid))
    _show(asked, key, answer, _DONE["cas"])


def show_count(asked: Asked) -> None:
    """Print the number of keys."""
    number = _ask(asked, lambda client: client.count())
    if asked.as_json:
        print_json({"success": True, "count": number})
    else:
        print(number)  # noqa: T201 -- it is what was asked for


def _show(asked: Asked, key: bytes, answer: Answer, words: str) -> None:
    if not asked.as_json:
        print_value(answer.value, words)
        return
    value = {} if answer.value is None else member("value", answer.value)
    receipt = asdict(answer.receipt)
    print_json({"success": True, **member("key", key), **value, **receipt})


def client_for(asked: Asked, reactor: Any, **options: Any) -> Client:  # noqa: ANN401
    """Return a client of the cluster that is meant."""
    nodes = named_nodes(asked.nodes, asked.settings)
    named = all(name != url for name, url in nodes)
    return Client(
        dict(nodes) if named else [url for _, url in nodes],
        timeout_s=asked.timeout_s,
        reactor=reactor,
        **options,
    )


def _ask(asked: Asked, call: Callable[[Client], Deferred[T]]) -> T:
    """Return what ``call`` brings; if that is an error and JSON is wanted, print it first."""

    async def ask(reactor: Any) -> T:  # noqa: ANN401 -- several interfaces at once
        client = client_for(asked, reactor)
        try:
            return await call(client)
        finally:
            await client.close()

    try:
        return run(ask)
    except KvPaxosError as failed:
        error = _in_words_of_options(failed)
        if asked.as_json:
            print_json({"success": False, "message": str(error), **_details(error)})
        elif isinstance(error, ConditionFailed) and error.current is not None:
            held = visible(error.current)[:_CURRENT_SHOWN_MAX]
            raise type(error)(f"{error} It holds: {held}", error.key, error.current) from None
        raise error from None


def _in_words_of_options(error: KvPaxosError) -> KvPaxosError:
    """Return an error that calls things as the command line does."""
    if type(error) is not BadRequest:
        return error
    return BadRequest(str(error).replace("requestid", "--id"))


def _details(error: KvPaxosError) -> dict[str, object]:
    details: dict[str, object] = {}
    applied = getattr(error, "applied", None)
    if applied is not None:
        details["applied"] = applied
    if isinstance(error, ConditionFailed) and error.current is not None:
        details.update(member("value", error.current))
    return details
