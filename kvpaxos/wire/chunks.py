"""Chunks: a message too long for one frame travels in several, and others pass between them.

A chunk is the payload of a frame, and looks like this::

    1 byte    0xC1, with which no MessagePack value begins
    4 bytes   how many bytes of the message come after this chunk, big-endian
    n bytes   the next bytes of the message

On one connection the chunks of one message are over before those of the next begin. Whole
messages, in frames of their own, may stand between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from kvpaxos.errors import WireError
from kvpaxos.wire.framing import FRAME_BYTES_MAX, HEADER_BYTES, frame

MESSAGE_BYTES_MAX: Final = 36 * 1024 * 1024
"""No cluster has longer messages: a compare-and-set of two values of 16 MiB fits."""

CHUNK_MARK: Final = 0xC1
"""The first byte of a chunk."""

_HEADER: Final = Struct(">BI")

CHUNK_BYTES_MAX: Final = FRAME_BYTES_MAX - _HEADER.size
"""The most bytes of a message that one chunk carries. All but the last carry as many."""

_OVERHEAD_BYTES: Final = HEADER_BYTES + _HEADER.size


class Parcel:
    """A message that is too long for a frame. Its length is what it takes on the way.

    Iterate over it for the frames that carry it: each is made when it is asked for, so what
    waits to leave takes no more memory than the message.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message

    def __len__(self) -> int:
        chunks = -(-len(self._message) // CHUNK_BYTES_MAX)
        return len(self._message) + chunks * _OVERHEAD_BYTES

    def __iter__(self) -> Iterator[bytes]:
        message = memoryview(self._message)
        for start in range(0, len(message), CHUNK_BYTES_MAX):
            end = min(start + CHUNK_BYTES_MAX, len(message))
            yield frame(_HEADER.pack(CHUNK_MARK, len(message) - end) + message[start:end])


def packed(message: bytes) -> bytes | Parcel:
    """Return the frame that carries ``message``, or the parcel if it takes several."""
    return frame(message) if len(message) <= FRAME_BYTES_MAX else Parcel(message)


class Joiner:
    """Makes messages of what the frames of one connection hold, in order.

    Once `take` has raised, the stream is beyond repair: drop the connection.

    :ivar message_bytes_max: the longest message that is taken in chunks from now on; 0 for none.
    """

    def __init__(self, *, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.message_bytes_max = message_bytes_max
        self._message = bytearray()
        self._missing = 0

    @property
    def bytes_held(self) -> int:
        """How many bytes wait for the rest of their message: fewer than the longest has."""
        return len(self._message) - self._missing

    def take(self, payload: bytes) -> bytes | bytearray | None:
        """Return the message that ``payload`` is, or completes; None if more of it must come.

        :raises WireError: at a chunk that does not continue what has come, is empty, or begins
            a message that is longer than `message_bytes_max`, or would have fitted into a frame.
        """
        if not payload or payload[0] != CHUNK_MARK:
            return payload
        if len(payload) <= _HEADER.size:
            raise WireError("a chunk with nothing in it")
        _, to_come = _HEADER.unpack_from(payload)
        left = len(payload) - _HEADER.size + to_come
        if not self._missing:
            self._check_length(left)
            # The system gives memory when it is written to, not before. To let it grow instead
            # would move it again and again.
            self._message = bytearray(left)
        elif left != self._missing:
            raise WireError(f"a chunk with {left} bytes left, not {self._missing}")
        end = len(self._message) - to_come
        with memoryview(self._message) as message_view:
            message_view[end - (left - to_come) : end] = memoryview(payload)[_HEADER.size :]
        self._missing = to_come
        if to_come:
            return None
        message, self._message = self._message, bytearray()
        return message

    def _check_length(self, length: int) -> None:
        if length > self.message_bytes_max:
            raise WireError(f"a message of {length} bytes, limit {self.message_bytes_max}")
        if length <= FRAME_BYTES_MAX:
            raise WireError(f"a message of {length} bytes in chunks, though a frame holds it")
