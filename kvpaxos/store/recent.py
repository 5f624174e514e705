"""Answers that are kept for as long as others are not used more recently.

Each has a name, under which the state keeps two records: a small one, with the time of its last
use, and the answer itself, so that a large answer is written once and removed once. The memory
holds what the small ones say, and no answer.

Time is counted in uses: 1, 2, 3, … The one that was used last is never dropped, so its record says
where counting goes on after a restart. What is kept is a function of the log alone, and part of
the digest.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from kvpaxos.errors import StateDamaged
from kvpaxos.store.changes import Changes
from kvpaxos.store.digest import NO_RECORD, record_digest
from kvpaxos.store.engine import Snapshot
from kvpaxos.store.layout import NamedPlaces
from kvpaxos.store.results import Result, decode_result, encode_result

_FORMAT: Final = 1
_DIGEST_BYTES: Final = 16
_RECORD: Final = struct.Struct(f">BQQ{_DIGEST_BYTES}sI{_DIGEST_BYTES}s")


@dataclass(slots=True)
class Recent:
    """What is known of one answer.

    :ivar used: the time of its last use.
    :ivar number: the number of the request that was answered.
    :ivar fingerprint: tells that request from others; 16 bytes.
    :ivar answer_bytes: the size of the answer's record.
    :ivar answer: the digest of the answer's record.
    :ivar stored: the digest of this one's own record as it was last written.
    """

    used: int = 0
    number: int = 0
    fingerprint: bytes = bytes(_DIGEST_BYTES)
    answer_bytes: int = 0
    answer: int = NO_RECORD
    stored: int = NO_RECORD


class RecentAnswers:
    """The answers under one kind of names, within two bounds.

    :param count_max: how many there may be; at least 1.
    :param bytes_max: how many bytes names and answers may have together; only one that is alone
        may have more.
    :ivar bytes: how many bytes they have.
    """

    def __init__(
        self,
        changes: Changes,
        places: NamedPlaces,
        snapshot: Snapshot,
        *,
        count_max: int,
        bytes_max: int,
    ) -> None:
        assert count_max > 0, "the answer that was used last is always kept"
        self.bytes = 0
        self._changes = changes
        self._places = places
        self._count_max = count_max
        self._bytes_max = bytes_max
        # In the order of their last use. What changed is written once a batch.
        self._recent: OrderedDict[bytes, Recent] = OrderedDict()
        self._changed: dict[bytes, Recent] = {}
        self._load(snapshot)
        self._time = next((known.used for known in reversed(self._recent.values())), 0)

    def __bool__(self) -> bool:
        """Whether `write` has anything to do."""
        return bool(self._changed)

    def __len__(self) -> int:
        """Return how many answers there are."""
        return len(self._recent)

    def find(self, name: bytes) -> Recent | None:
        """Return what is known of the answer under ``name``, or None if there is none."""
        return self._recent.get(name)

    def use(self, name: bytes) -> None:
        """Let the answer under ``name``, which is there, be the one that was used last."""
        self._time += 1
        known = self._recent[name]
        known.used = self._time
        self._recent.move_to_end(name)
        self._changed[name] = known

    def answer(self, name: bytes) -> Result:
        """Return the answer under ``name``, which is there.

        :raises StateDamaged: the engine holds something else.
        """
        place = self._places.answer(name)
        record = self._changes.get(place)
        if record is None or record_digest(place, record) != self._recent[name].answer:
            raise StateDamaged(f"key {place.hex()}", "this is not the answer that was kept")
        return decode_result(place, record)

    def keep(self, name: bytes, number: int, fingerprint: bytes, result: Result) -> None:
        """Keep an answer under ``name``, in place of the one that may be there, and use it."""
        known = self._recent.get(name)
        if known is None:
            known = self._recent[name] = Recent()
            self.bytes += len(name)
        place, record = self._places.answer(name), encode_result(result)
        known.answer = self._changes.replace(place, known.answer, record)
        self.bytes += len(record) - known.answer_bytes
        known.answer_bytes = len(record)
        known.number = number
        known.fingerprint = fingerprint
        self.use(name)
        while len(self._recent) > self._count_max or self.bytes > self._bytes_max:
            if len(self._recent) == 1:
                break
            self._drop()

    def write(self) -> None:
        """Put the small records that changed among the changes of the batch."""
        for name, known in self._changed.items():
            record = _RECORD.pack(
                _FORMAT,
                known.used,
                known.number,
                known.fingerprint,
                known.answer_bytes,
                known.answer.to_bytes(_DIGEST_BYTES, "big"),
            )
            known.stored = self._changes.replace(self._places.record(name), known.stored, record)
        self._changed.clear()

    def _drop(self) -> None:
        """Forget the answer whose last use is longest ago."""
        name, known = self._recent.popitem(last=False)
        self.bytes -= len(name) + known.answer_bytes
        self._changes.replace(self._places.answer(name), known.answer, None)
        self._changes.replace(self._places.record(name), known.stored, None)
        self._changed.pop(name, None)

    def _load(self, snapshot: Snapshot) -> None:
        found: list[tuple[bytes, Recent]] = []
        for place, record in snapshot.scan(*self._places.records):
            if len(record) != _RECORD.size or record[0] != _FORMAT:
                raise StateDamaged(f"key {place.hex()}", "this is not the record of a request")
            _, used, number, fingerprint, size, answer = _RECORD.unpack(record)
            name = self._places.name_of(place)
            known = Recent(
                used,
                number,
                fingerprint,
                size,
                int.from_bytes(answer, "big"),
                record_digest(place, record),
            )
            found.append((name, known))
            self.bytes += len(name) + size
        found.sort(key=lambda pair: pair[1].used)
        self._recent.update(found)
