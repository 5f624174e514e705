"""What may come of each operation, in words, as a schema and by example, for OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from twisted.web import http

from kvpaxos.errors import BadRequest, Forbidden, NoSpace, OutcomeUnknown, TooLarge, Unavailable
from kvpaxos.node.http.catalog import Operation
from kvpaxos.node.http.dialects import Dialect, Verb
from kvpaxos.node.http.failures import FAULTS, refusal
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.replies import JSON, MESSAGES, OCTETS, Replies
from kvpaxos.node.http.shapes import SHAPES, Schema, number, verdict
from kvpaxos.store.requests import Numbered


class Answer(NamedTuple):
    """One way in which a request may end.

    :ivar example: a body, or None if the schema says enough.
    :ivar headers: those that not every reply has.
    :ivar common: whether other operations end in it too, in the same words.
    :ivar kind: the type of the body.
    """

    name: str
    meaning: str
    schema: Schema
    status: int
    example: bytes | None
    headers: tuple[str, ...] = ()
    common: bool = False
    kind: str = JSON


_MEANINGS: Final = MappingProxyType(
    {
        "exists": "Not done, because the key exists",
        "missing": "Not done, because there is no such key",
        "differs": "Not done, because the key holds another value",
        "stale": "Not done now, because its client has used a greater opid",
    }
)

_FAILURES: Final[Mapping[str, Exception]] = MappingProxyType(
    {
        "A parameter is missing or makes no sense, or the body is malformed": BadRequest(
            "the key is empty"
        ),
        "The path does not answer this caller, or does not do this in this cluster": Forbidden(
            "this path answers callers on the node's own machine only"
        ),
        "A key, a value, an address or a body is over its limit": TooLarge(
            "the key has 5000 bytes, and the limit is 4096"
        ),
        "The node met an unexpected error, and its log says more": RuntimeError(),
        "No quorum, no leader, or too much to do, or the node is not ready": Unavailable(
            "no leader is known"
        ),
        "The node's disk is nearly full, and this would fill it further": NoSpace(
            "the disk of this node is nearly full"
        ),
        "The deadline passed while the request was under way": OutcomeUnknown(
            "the request was sent, and nothing was heard of it in time"
        ),
    }
)
"""What requests fail with, by its meaning."""


def answers(operation: Operation, dialect: Dialect, limits: HttpLimits) -> Iterator[Answer]:
    """Yield all that may come of ``operation``."""
    if operation.verb is None:
        schema = SHAPES[operation.gives](dialect, limits)
        kind = OCTETS if operation.gives == "backup" else JSON
        yield Answer("done", "Done", schema, http.OK, None, kind=kind)
    else:
        yield _done(operation.verb, dialect)
        yield from _denials(operation.verb, dialect)
    yield from _failures(operation, dialect)


def _done(verb: Verb, dialect: Dialect) -> Answer:
    counts = verb == "count"
    schema = number(dialect) if counts else verdict(dialect.yes, dialect.done[verb])
    return Answer("done", "Done", schema, *Replies(dialect).done(verb, b"3" if counts else b"blue"))


def _denials(verb: Verb, dialect: Dialect) -> Iterator[Answer]:
    replies = Replies(dialect)
    for denied, denial in MESSAGES:
        if denied == verb:
            schema = verdict(dialect.no, dialect.undone[verb], ["no"])
            held = None if denial == "missing" else b"red"
            yield Answer(denial, _MEANINGS[denial], schema, *replies.undone(verb, denial, held))
    schema = verdict(dialect.no, dialect.failed[verb], ["unknown"])
    stale = replies.stale(verb, Numbered(b"alice", 7))
    yield Answer("stale", _MEANINGS["stale"], schema, *stale)


def _failures(operation: Operation, dialect: Dialect) -> Iterator[Answer]:
    fields = dialect.failed[operation.verb]
    for meaning, error in _FAILURES.items():
        if operation.may_end_in(type(error)):
            refused = refusal(error, Replies(dialect), operation.verb)
            applied = {fault.applied for fault in FAULTS if fault.status == refused.reply.status}
            yield Answer(
                "failed",
                meaning,
                verdict(dialect.no, fields, applied),
                *refused.reply,
                headers=tuple(name.decode() for name, _ in refused.headers),
                common=fields == dialect.failed[None],
            )
