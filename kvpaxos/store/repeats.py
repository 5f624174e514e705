"""What lets a client send a request again without its being executed again.

A request with an identity is executed once, and its answer is kept for those that come again:

* A client that numbers its requests has one session: the newest opid, what it asked for, and the
  answer. A greater opid is executed and takes its place; the same one gets the answer again; a
  lower one is refused, since nothing is known of it any more.
* A request id stands alone: the same one gets the answer again.
* The same identity with another operation is refused.

Sessions and request ids are bounded in number and in bytes, and go least recently used first.
Every request with an identity is a use of it, also one that is refused. Beyond the bounds a
repetition is taken for a new request.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal, TypeAlias, assert_never

from kvpaxos.store.changes import Changes
from kvpaxos.store.engine import Snapshot
from kvpaxos.store.layout import Layout
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.recent import RecentAnswers
from kvpaxos.store.requests import Identity, Named, Numbered
from kvpaxos.store.results import Result

NotAgain: TypeAlias = Literal["stale", "reused"]


class Repeats:
    """The sessions of clients, and the request ids, of one group."""

    def __init__(
        self, changes: Changes, layout: Layout, snapshot: Snapshot, limits: IdentityLimits
    ) -> None:
        self._sessions = RecentAnswers(
            changes,
            layout.client_sessions,
            snapshot,
            count_max=limits.client_sessions_max,
            bytes_max=limits.client_sessions_bytes_max,
        )
        self._request_ids = RecentAnswers(
            changes,
            layout.request_ids,
            snapshot,
            count_max=limits.request_ids_max,
            bytes_max=limits.request_ids_bytes_max,
        )

    def __bool__(self) -> bool:
        """Whether `write` has anything to do."""
        return bool(self._sessions) or bool(self._request_ids)

    @property
    def usage(self) -> Mapping[str, int]:
        """How much is kept, by the names of `IdentityLimits` without ``_max``."""
        return {
            "client_sessions": len(self._sessions),
            "client_sessions_bytes": self._sessions.bytes,
            "request_ids": len(self._request_ids),
            "request_ids_bytes": self._request_ids.bytes,
        }

    def recall(self, identity: Identity, fingerprint: bytes) -> Result | NotAgain | None:
        """Return what a request gets that must not be executed; None if it must be.

        :raises StateDamaged: the kept answer is damaged.
        """
        answers, name, number = self._find(identity)
        known = answers.find(name)
        if known is None or number > known.number:
            return None
        answers.use(name)
        if number < known.number:
            return "stale"
        if fingerprint != known.fingerprint:
            return "reused"
        return answers.answer(name)

    def keep(self, identity: Identity, fingerprint: bytes, result: Result) -> None:
        """Keep the answer to a request that was executed."""
        answers, name, number = self._find(identity)
        answers.keep(name, number, fingerprint, result)

    def write(self) -> None:
        """Put what is not there yet among the changes of the batch."""
        self._sessions.write()
        self._request_ids.write()

    def _find(self, identity: Identity) -> tuple[RecentAnswers, bytes, int]:
        match identity:
            case Numbered(client, opid):
                return self._sessions, client, opid
            case Named(requestid):
                # It is as good as a client that asks only once.
                return self._request_ids, requestid, 0
            case _:
                assert_never(identity)


def fingerprint_of(operation: bytes) -> bytes:
    """Return what tells an encoded operation from others."""
    return blake2b(operation, digest_size=16).digest()
