"""What replies of nodes mean, in whatever dialect they are spelled. Pure.

In the dialect ``handout`` a failure carries no sentence and a write no old value, so some of what
a caller is told is less exact there: see docs/client.md.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from kvpaxos.client.requests import Verb
from kvpaxos.client.results import Answer, Receipt
from kvpaxos.client.retrying import Trouble
from kvpaxos.errors import (
    Applied,
    BadRequest,
    ConditionFailed,
    Forbidden,
    KeyExists,
    KeyMissing,
    KvPaxosError,
    OutcomeUnknown,
    TooLarge,
    ValueDiffers,
)

T = TypeVar("T")

REST_S_MAX: Final = 10.0
"""A node that asks to be left alone for longer is left alone for this long."""

_OK: Final = 200
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_NOT_ALLOWED: Final = 405
_CONFLICT: Final = 409
_TOO_LARGE: Final = 413
_UNAVAILABLE: Final = 503
_NO_SPACE: Final = 507

_YES: Final = (True, "true")
_NO: Final = (False, "false")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it came.

    :ivar node: the address of the node that sent it.
    :ivar headers: by lower-case name.
    """

    node: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def receipt(self) -> Receipt:
        """What the reply says of itself."""
        slot = self.headers.get("x-kvpaxos-slot", "")
        return Receipt(
            self.node,
            int(slot) if slot.isdecimal() else 0,
            self.headers.get("x-kvpaxos-leader", ""),
            self.headers.get("x-kvpaxos-read", ""),
        )


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The request was answered, with success."""

    value: T


@dataclass(frozen=True, slots=True)
class Failed:
    """The request was answered, with an error that no other node would spare the caller."""

    error: KvPaxosError


Understood: TypeAlias = Outcome[T] | Failed | Trouble


def read_answer(
    reply: Reply, verb: Verb, key: bytes, *, expects_none: bool = False
) -> Understood[Answer]:
    """Say what ``reply`` means to a request for ``key``.

    :param expects_none: whether a compare-and-set wanted the key to be absent.
    """
    members = _members(reply.body)
    try:
        if reply.status == _OK and members.get("success") in _YES:
            return Outcome(Answer(_value(members), reply.receipt))
        if _is_condition(verb, reply.status, members):
            return Failed(_condition(verb, key, members, expects_none=expects_none))
    except ValueError:
        return _nonsense(reply)
    return _refused(reply, members)


def read_count(reply: Reply) -> Understood[int]:
    """Say what ``reply`` means to a question for a number."""
    members = _members(reply.body)
    if reply.status != _OK:
        return _refused(reply, members)
    # One dialect spells it as text.
    match members.get("result"):
        case bool():
            return _nonsense(reply)
        case int(number):
            return Outcome(number)
        case str(digits) if digits.isdecimal():
            return Outcome(int(digits))
        case _:
            return _nonsense(reply)


def read_table(reply: Reply) -> Understood[Mapping[str, object]]:
    """Say what ``reply`` means to a question for a table, such as the status."""
    members = _members(reply.body)
    if reply.status != _OK:
        return _refused(reply, members)
    return Outcome(members) if members else _nonsense(reply)


def read_refusal(reply: Reply) -> Failed | Trouble:
    """Say what ``reply`` means, which is no success."""
    return _refused(reply, _members(reply.body))


def spelled(name: str, members: Mapping[str, object]) -> bytes | None:
    """Return a key or a value out of a JSON object, or None if it is not there.

    :raises ValueError: it is neither text nor base64.
    """
    match members.get(name), members.get(f"{name}_base64"):
        case str(text), _:
            return text.encode()
        case None, str(encoded):
            return b64decode(encoded, validate=True)
        case None, None:
            return None
        case _:
            raise ValueError(f"{name} is no text")


def _members(body: bytes) -> Mapping[str, object]:
    """Return the members of the JSON object in ``body``; none if it is anything else."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _value(members: Mapping[str, object]) -> bytes | None:
    return spelled("value", members)


def _is_condition(verb: Verb, status: int, members: Mapping[str, object]) -> bool:
    """Whether a node says that what the key holds did not allow the request.

    Most dialects say so with status 200. In ``plain``, which spells booleans as such, 404 and 409
    do; elsewhere a 404 speaks of the path.
    """
    if verb not in _CONDITIONAL or members.get("applied") == "unknown":
        return False
    success = members.get("success")
    return success in _NO if status == _OK else status in _CONDITIONS and success is False


def _condition(
    verb: Verb, key: bytes, members: Mapping[str, object], *, expects_none: bool
) -> ConditionFailed:
    current = _value(members) if verb == "cas" else None
    kind: type[ConditionFailed]
    if verb == "insert" or (verb == "cas" and expects_none):
        kind, said = KeyExists, "The key exists, so nothing was changed."
    elif verb == "cas" and ("value" not in members or current is not None):
        kind, said = ValueDiffers, "The key does not hold the expected value: nothing was changed."
    else:
        kind, said = KeyMissing, "There is no such key, so nothing was changed."
    return kind(_message(members) or said, key, current)


def _refused(reply: Reply, members: Mapping[str, object]) -> Failed | Trouble:
    applied = _applied(reply.status, members)
    message = _message(members)
    rejection = _REJECTIONS.get(reply.status)
    if rejection is not None and members.get("success") in _NO:
        said = message or f"The node refused the request with HTTP status {reply.status}."
        return Failed(OutcomeUnknown(said) if applied == "unknown" else rejection(said))
    # Behind the semicolon the node says what this one attempt has changed. The call says that
    # for all of its attempts.
    why = message.partition(";")[0].rstrip(".") or f"HTTP status {reply.status}"
    return Trouble(why, applied, _rest_s(reply.headers))


def _applied(status: int, members: Mapping[str, object]) -> Applied:
    match members.get("applied"):
        case "no":
            return "no"
        case "unknown":
            return "unknown"
        case _:
            # A dialect may leave it out. Whoever is in between may also send
            # such a status, but not an object that says that nothing was done.
            says_so = status in {*_REJECTIONS, _UNAVAILABLE, _NO_SPACE}
            sure = says_so and members.get("success") in _NO
            return "no" if sure else "unknown"


def _message(members: Mapping[str, object]) -> str:
    message = members.get("message")
    return message if isinstance(message, str) else ""


def _nonsense(reply: Reply) -> Trouble:
    return Trouble(f"its answer is not one of a node (HTTP status {reply.status})", "unknown")


def _rest_s(headers: Mapping[str, str]) -> float:
    seconds = headers.get("retry-after", "")
    return min(float(seconds), REST_S_MAX) if seconds.isdecimal() else 0.0


_CONDITIONAL: Final[frozenset[Verb]] = frozenset({"insert", "update", "delete", "cas", "get"})
"""The requests that what a key holds can forbid."""

_CONDITIONS: Final = (_NOT_FOUND, _CONFLICT)

_REJECTIONS: Final[Mapping[int, Callable[[str], KvPaxosError]]] = {
    # Only that the request came too late to say what became of it: its client or its lane has
    # been answered a later one.
    _OK: OutcomeUnknown,
    _BAD_REQUEST: BadRequest,
    _FORBIDDEN: Forbidden,
    _NOT_FOUND: BadRequest,
    _NOT_ALLOWED: BadRequest,
    _CONFLICT: BadRequest,
    _TOO_LARGE: TooLarge,
}
"""The errors that are the same at every node."""
