"""What a request gets that could not be answered: one table from exceptions to replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, cast

from twisted.web import http
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from kvpaxos.errors import (
    Applied,
    BadRequest,
    DiskError,
    Forbidden,
    NoSpace,
    OutcomeUnknown,
    StartError,
    TooLarge,
    Unavailable,
)
from kvpaxos.node.http.dialects import Verb
from kvpaxos.node.http.replies import Headers, Replies, Reply

RETRY_AFTER_S: Final = 1
"""When a request that found no quorum is worth another try: an election takes about as long."""


ROOM_AFTER_S: Final = 5
"""The same where there was no room on the disk: it takes longer until somebody has made some."""


class Refusal(NamedTuple):
    """The reply to a request that failed.

    :ivar unexpected: the fault is ours, and belongs in the log.
    """

    reply: Reply
    headers: Headers
    unexpected: bool


class Fault(NamedTuple):
    """One row of the table.

    :ivar kinds: the exceptions it speaks for.
    :ivar applied: whether the request was carried out.
    :ivar advice: that in words, and what the client should do now.
    :ivar what: what happened, in words.
    :ivar headers: headers of the reply.
    """

    kinds: type[BaseException] | tuple[type[BaseException], ...]
    status: int
    applied: Applied
    advice: str
    what: Callable[[BaseException], str] = str
    headers: Callable[[BaseException], Headers] = lambda _: ()
    unexpected: bool = False


def refusal(error: BaseException, replies: Replies, verb: Verb | None) -> Refusal:
    """Return the reply to a request that ended in ``error``.

    :param verb: what it asked for, if that is known and concerns a key.
    """
    fault = next(fault for fault in FAULTS if isinstance(error, fault.kinds))
    what = fault.what(error).rstrip(".")
    message = f"{what[:1].upper()}{what[1:]}; {fault.advice}."
    return Refusal(
        Reply(fault.status, replies.failed(verb, message, fault.applied)),
        fault.headers(error),
        fault.unexpected,
    )


def allow(error: BaseException) -> Headers:
    """Return the header that names the methods which the path does take."""
    return ((b"Allow", ", ".join(_methods(error)).encode()),)


def _methods(error: BaseException) -> list[str]:
    return sorted({*(cast(MethodNotAllowed, error).valid_methods or ()), "OPTIONS"})


def _wrong_method(error: BaseException) -> str:
    takes = [method for method in _methods(error) if method not in {"HEAD", "OPTIONS"}]
    return f"this path takes {' and '.join(takes)} and no other method"


def _retry_after(_: BaseException) -> Headers:
    return ((b"Retry-After", b"%d" % RETRY_AFTER_S),)


def _room_after(_: BaseException) -> Headers:
    return ((b"Retry-After", b"%d" % ROOM_AFTER_S),)


_MEND: Final = "nothing was changed: mend the request before you send it again"

FAULTS: Final = (
    Fault(TooLarge, http.REQUEST_ENTITY_TOO_LARGE, "no", _MEND),
    Fault(BadRequest, http.BAD_REQUEST, "no", _MEND),
    Fault(Forbidden, http.FORBIDDEN, "no", "nothing was changed"),
    # It stands before Unavailable, of which it is a kind.
    Fault(
        NoSpace,
        http.INSUFFICIENT_STORAGE_SPACE,
        "no",
        "nothing was changed, and it is safe to send the request again: another node may have"
        " room, and this one still reads and deletes",
        headers=_room_after,
    ),
    Fault(
        Unavailable,
        http.SERVICE_UNAVAILABLE,
        "no",
        "nothing was changed, and it is safe to send the request again",
        headers=_retry_after,
    ),
    Fault(
        OutcomeUnknown,
        http.GATEWAY_TIMEOUT,
        "unknown",
        "the request may or may not be carried out: read the key before you send it again",
        headers=_retry_after,
    ),
    Fault(
        MethodNotAllowed,
        http.NOT_ALLOWED,
        "no",
        "nothing was changed: send the request again that way",
        what=_wrong_method,
        headers=allow,
    ),
    # Also what the routes would redirect: a path with two slashes in a row.
    Fault(
        HTTPException,
        http.NOT_FOUND,
        "no",
        "nothing was changed: docs/http.md lists the paths",
        what=lambda _: "there is no such path",
    ),
    # Only what reads meets these: a write that cannot be finished is unknown.
    # The node stops because of them, and says in its log what they are.
    Fault(
        (DiskError, StartError),
        http.INTERNAL_SERVER_ERROR,
        "no",
        "nothing was changed: ask another node, and look into this one's log for the cause",
        what=lambda _: "the node's disk is damaged, and so it stops",
    ),
    Fault(
        BaseException,
        http.INTERNAL_SERVER_ERROR,
        "unknown",
        "the request may or may not be carried out: read the key before you send it again,"
        " and look into the node's log for the cause",
        what=lambda _: "the node met an unexpected error",
        unexpected=True,
    ),
)
"""The first row that speaks for an exception decides."""
