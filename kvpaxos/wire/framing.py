"""Frames: byte strings with a version, their length and a checksum in front."""

from __future__ import annotations

from collections.abc import Generator
from struct import Struct
from typing import Final

from google_crc32c import value as crc32c

from kvpaxos.errors import WireError

FRAME_VERSION: Final = 1
"""The first byte of every frame. A peer that sends another one speaks another language."""

FRAME_BYTES_MAX: Final = 1088 * 1024
"""The longest payload of one frame. Longer ones are refused unread.

A batch of 1 MiB, which is the most unless one command is longer, fits. What is longer travels in
chunks: see `kvpaxos.wire.chunks`. So no heartbeat has to wait for more than one frame.
"""

_HEADER: Final = Struct(">BII")

HEADER_BYTES: Final = _HEADER.size
"""What a frame adds to its payload: version, length, and CRC32C of the payload."""


def frame(payload: bytes) -> bytes:
    """Return ``payload`` with its header in front."""
    return _HEADER.pack(FRAME_VERSION, len(payload), crc32c(payload)) + payload


class FrameBuffer:
    """Cuts a byte stream, however it was chopped up, back into frames.

    Once `receive` has raised, the stream is beyond repair: drop the connection.

    :ivar frame_bytes_max: the longest payload that is taken from now on.
    """

    def __init__(self, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    @property
    def bytes_held(self) -> int:
        """How many bytes wait for the rest of their frame: never much more than one frame."""
        return len(self._buffer)

    def receive(self, data: bytes) -> Generator[bytes]:
        """Take ``data``, and yield the payloads that it completes, in order.

        Frames that the caller does not ask for stay here until the next call.

        :raises WireError: at a frame of another version, one that announces more than
            `frame_bytes_max` bytes (before they are there), or one with a bad checksum.
        """
        self._buffer += data
        return self._frames()

    def _frames(self) -> Generator[bytes]:
        buffer = self._buffer
        start = 0
        try:
            while len(buffer) > start:
                # The version is looked at as soon as its byte is there: whoever speaks
                # HTTP to this port shall not be waited for until a header is complete.
                if buffer[start] != FRAME_VERSION:
                    raise WireError(f"frame of version {buffer[start]}, not {FRAME_VERSION}")
                body = start + HEADER_BYTES
                if len(buffer) < body:
                    return
                _, length, checksum = _HEADER.unpack_from(buffer, start)
                if length > self.frame_bytes_max:
                    raise WireError(f"frame of {length} bytes, limit {self.frame_bytes_max}")
                end = body + length
                if len(buffer) < end:
                    return
                with memoryview(buffer) as view:
                    payload = bytes(view[body:end])
                if crc32c(payload) != checksum:
                    raise WireError(f"bad checksum on a frame of {length} bytes")
                start = end
                yield payload
        finally:
            # Once per call, not per frame: each removal moves all the bytes behind it.
            del buffer[:start]
