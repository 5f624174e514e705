"""Writes messages, records and events the way a transcript shows them."""

from __future__ import annotations

from kvpaxos.errors import CommandError
from kvpaxos.paxos.ballot import Ballot
from kvpaxos.paxos.messages import Command, Health
from kvpaxos.store.requests import decode_request


def show(value: object) -> str:  # noqa: PLR0911  (one arm a kind)
    """Return ``value`` in few words."""
    match value:
        case Ballot():
            return str(value)
        case Command(node, _, sequence, settled, body):
            return f"{node}{sequence}/{settled}:{_body(body)}"
        case Health(following, able, decided, kept, durable):
            state = "" if able else " unable"
            return f"following={show(following)}{state} decided={decided} kept={kept}..{durable}"
        case bytes():
            return value.decode(errors="backslashreplace")
        case tuple():
            return "[" + " ".join(map(show, value)) + "]"
        case float():
            return f"{value:.3f}"
        case int() | str() | None:
            return str(value)
        case _:
            names = getattr(value, "__match_args__", ())
            parts = {name: getattr(value, name) for name in names}
            if parts.get("incarnations") == ():
                del parts["incarnations"]  # Nearly always everybody is on a first disk.
            fields = " ".join(f"{name}={show(part)}" for name, part in parts.items())
            return f"{type(value).__name__}({fields})"


def _body(body: bytes) -> str:
    """Return a command's body: a request of the store, or, as transcripts have it, a word."""
    try:
        operation, identity = decode_request(body)
    except CommandError:
        return show(body)
    return show(operation) if identity is None else f"{show(operation)} as {show(identity)}"
