"""The format of a backup: one group's state after one slot, proved to its last byte. Pure.

A backup is its opening, which says what it is and in which format, and frames::

    kind (1 byte) | length (4 bytes) | payload | digest (16 bytes)

A frame's digest covers the digest before it, that of the opening being the first, and all of the
frame. So whatever is changed, missing, moved or added shows at the first frame that is not right:
a byte, a frame, or the end. The frames are a header; then records, as the engine holds them and in
its order; then an end. Records may be packed: all numbers here are those of the unpacked ones.

Besides that, the records must make the very state whose digest the header names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Final

from kvpaxos.errors import BackupDamaged, BackupUnreadable, StateDamaged
from kvpaxos.store.intake import Tally
from kvpaxos.store.view import Record

FORMAT: Final = 1
"""The format of backups that is written here, and the only one that is read."""

FRAME_BYTES_MAX: Final = 48 * 1024 * 1024
"""The longest payload, packed or not. The longest record that there can be has about a third."""

_NAME: Final = b"kvpaxos backup\n"
_OPENING: Final = _NAME + bytes([FORMAT])
_FRAME: Final = struct.Struct(">BI")
_DIGEST_BYTES: Final = 16
_HEADER: Final = struct.Struct(">IQQQ16s")
_RECORD: Final = struct.Struct(">II")
_END: Final = struct.Struct(">QQ16s")


class Kind(IntEnum):
    """What a frame holds."""

    HEADER = 1
    RECORDS = 2
    PACKED = 3
    END = 4


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup is of.

    :ivar cluster: the id of the cluster.
    :ivar group: which of its groups.
    :ivar slot: the state is that after this slot.
    :ivar revision: the state's revision.
    :ivar count: how many keys there are.
    :ivar digest: the digest of the state.
    """

    cluster: str
    group: int
    slot: int
    revision: int
    count: int
    digest: int

    def encode(self) -> bytes:
        """Return the payload."""
        digest = self.digest.to_bytes(_DIGEST_BYTES, "big")
        numbers = _HEADER.pack(self.group, self.slot, self.revision, self.count, digest)
        return numbers + self.cluster.encode()


class BackupWriter:
    """Makes the bytes of a backup, which are to be written in the order in which they are made."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._tail = _digest(b"", _OPENING)
        self._records = 0

    def begin(self) -> bytes:
        """Return what a backup begins with."""
        return _OPENING + self._frame(Kind.HEADER, self._header.encode())

    def add(self, piece: list[Record], pack: Callable[[bytes], bytes] | None = None) -> bytes:
        """Return the next records as a frame, packed by ``pack`` if that is given."""
        self._records += len(piece)
        payload = encode_records(piece)
        if pack is None:
            return self._frame(Kind.RECORDS, payload)
        return self._frame(Kind.PACKED, pack(payload))

    def end(self) -> bytes:
        """Return the end."""
        digest = self._header.digest.to_bytes(_DIGEST_BYTES, "big")
        return self._frame(Kind.END, _END.pack(self._records, self._header.count, digest))

    def _frame(self, kind: Kind, payload: bytes) -> bytes:
        assert len(payload) <= FRAME_BYTES_MAX, "no record is so long"
        framed = _FRAME.pack(kind, len(payload)) + payload
        self._tail = _digest(self._tail, framed)
        return framed + self._tail


class BackupReader:
    """Takes the bytes of a backup, however they are cut, and hands out its records.

    :ivar header: what it is of, once that was read.
    :ivar tally: how much of it was read.

    :param name: what to call it in sentences.
    :param unpack: undoes what packed the records; it raises `ValueError` if it cannot.
    """

    def __init__(self, name: str, unpack: Callable[[bytes], bytes]) -> None:
        self.header: Header | None = None
        self.tally = Tally(0)
        self._name = name
        self._unpack = unpack
        self._tail = b""
        self._unread = bytearray()
        self._taken = 0
        self._whole = False

    def feed(self, data: bytes) -> Iterator[list[Record]]:
        """Take the next bytes, and yield the records of each frame that is whole by now.

        :raises BackupUnreadable: this is no backup, or one in another format.
        :raises BackupDamaged: it is not what was written.
        """
        self._unread += data
        if not self._tail and not self._open():
            return
        while (frame := self._next()) is not None:
            kind, payload = frame
            records = self._take(kind, payload)
            if records is not None:
                yield records
            self._taken += _FRAME.size + len(payload) + _DIGEST_BYTES
        if self._whole and self._unread:
            raise self._damaged("there are more bytes behind its end")

    def finish(self) -> Header:
        """Return what the backup is of. To be called when there are no more bytes.

        :raises BackupUnreadable: there was nothing of a backup.
        :raises BackupDamaged: it ends too early.
        """
        if not self._tail:
            raise BackupUnreadable(f"{self._name} is no backup made by kvpaxos; name one.")
        if not self._whole:
            self._taken += len(self._unread)
            raise self._damaged("it ends too early")
        assert self.header is not None, "it is whole"
        return self.header

    def _open(self) -> bool:
        """Look at how it opens; return False as long as that is not known."""
        opening = bytes(self._unread[: len(_OPENING)])
        if not _NAME.startswith(opening[: len(_NAME)]):
            raise BackupUnreadable(f"{self._name} is no backup made by kvpaxos; name one.")
        if len(opening) < len(_OPENING):
            return False
        if opening != _OPENING:
            raise BackupUnreadable(
                f"{self._name} is a backup of format {opening[-1]}, and this version of kvpaxos"
                f" reads {FORMAT} only; use the version that made it."
            )
        self._tail = _digest(b"", opening)
        self._taken = len(opening)
        del self._unread[: len(opening)]
        return True

    def _next(self) -> tuple[int, bytes] | None:
        """Return the next frame, or None if it has not come yet."""
        if self._whole or len(self._unread) < _FRAME.size:
            return None
        kind, length = _FRAME.unpack_from(self._unread)
        if length > FRAME_BYTES_MAX:
            raise self._damaged("a frame cannot be so long")
        end = _FRAME.size + length
        if len(self._unread) < end + _DIGEST_BYTES:
            return None
        framed = bytes(self._unread[:end])
        digest = bytes(self._unread[end : end + _DIGEST_BYTES])
        if _digest(self._tail, framed) != digest:
            raise self._damaged("what is there is not what was written")
        self._tail = digest
        del self._unread[: end + _DIGEST_BYTES]
        return kind, framed[_FRAME.size :]

    def _take(self, kind: int, payload: bytes) -> list[Record] | None:
        try:
            match kind:
                case Kind.HEADER if self.header is None:
                    self.header = _decode_header(payload)
                    self.tally = Tally(self.header.group)
                case Kind.RECORDS if self.header is not None:
                    return self._count(payload)
                case Kind.PACKED if self.header is not None:
                    return self._count(self._unpack(payload))
                case Kind.END if self.header is not None:
                    self._end(self.header, payload)
                case _:
                    raise self._damaged(f"a frame of kind {kind} makes no sense")
        except (ValueError, struct.error) as error:
            raise self._damaged("a frame makes no sense") from error
        except StateDamaged as error:
            raise self._damaged("its records do not make the state that they are of") from error
        return None

    def _count(self, payload: bytes) -> list[Record]:
        records = list(decode_records(payload))
        self.tally.add(records)
        return records

    def _end(self, header: Header, payload: bytes) -> None:
        self.tally.finish(header.digest)
        digest = header.digest.to_bytes(_DIGEST_BYTES, "big")
        if payload != _END.pack(self.tally.records, self.tally.keys, digest):
            raise self._damaged("its end tells of another number of records")
        if header.count != self.tally.keys:
            raise self._damaged("its header tells of another number of keys")
        self._whole = True

    def _damaged(self, what: str) -> BackupDamaged:
        return BackupDamaged(self._name, self._taken, what)


def encode_records(records: Iterable[Record]) -> bytes:
    """Return the bytes that `decode_records` turns back into ``records``."""
    parts: list[bytes] = []
    for place, held in records:
        parts += (_RECORD.pack(len(place), len(held)), place, held)
    return b"".join(parts)


def decode_records(payload: bytes) -> Iterator[Record]:
    """Yield the records that ``payload`` encodes.

    :raises ValueError: they are not whole.
    """
    start = 0
    while start < len(payload):
        if start + _RECORD.size > len(payload):
            raise ValueError("a record is cut short")
        place_bytes, held_bytes = _RECORD.unpack_from(payload, start)
        middle = start + _RECORD.size + place_bytes
        end = middle + held_bytes
        if end > len(payload):
            raise ValueError("a record is cut short")
        yield payload[middle - place_bytes : middle], payload[middle:end]
        start = end


def _decode_header(payload: bytes) -> Header:
    group, slot, revision, count, digest = _HEADER.unpack_from(payload)
    cluster = payload[_HEADER.size :].decode()
    return Header(cluster, group, slot, revision, count, int.from_bytes(digest, "big"))


def _digest(tail: bytes, data: bytes) -> bytes:
    return blake2b(tail + data, digest_size=_DIGEST_BYTES).digest()
