"""The header that opens every segment, twice. Pure.

It repeats all that the records before it said and that must not be forgotten with them:
promises, who the node is, how often it started. So whole segments can be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, NamedTuple, TypeVar

from google_crc32c import value
from msgpack import packb

from kvpaxos.errors import DiskError, StartError, WireError
from kvpaxos.journal.format import DATA_START, DIGEST_BYTES, HEADER_BYTES, VERSION, Digest
from kvpaxos.journal.state import GroupState, JournalState
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Incarnations
from kvpaxos.paxos.records import Formed, Forming, Seen
from kvpaxos.wire.codec import count, decode_record, encode_record, incarnations, text, unpack

_MAGIC: Final = b"kvpaxosJ"

_PREFIX: Final = Struct("<8sII")
"""The magic bytes; the checksum of everything after it; the length of the body."""

_CHECKED_FROM: Final = 12

_BODY_BYTES_MAX: Final = HEADER_BYTES - _PREFIX.size

_Known = TypeVar("_Known", Forming, Formed, Seen)


class GroupHeader(NamedTuple):
    """What the records before a segment come to, for one group. See `GroupState`."""

    promised: Ballot
    decided_through: Slot
    voted_through: Slot
    installed: Slot
    incarnations: Incarnations
    rejoined: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself.

    :ivar number: which segment it is, the first ever being 1.
    :ivar size: how many bytes long its file is.
    :ivar first: no segment before this one is needed any more.
    :ivar records: how many records came before it, ever.
    :ivar digest: the chain's digest before its first record.
    """

    number: int
    size: int
    first: int
    records: int
    digest: Digest
    boot: int
    forming: Forming | None
    formed: Formed | None
    seen: tuple[Seen, ...]
    groups: Mapping[int, GroupHeader]

    def state(self) -> JournalState:
        """Return what the journal says before the first record of this segment.

        It is made for the first segment that is still needed. No earlier one is deleted
        before every slot in it is decided: so all that were voted in then, are.
        """
        groups = {
            group: GroupState(
                known.promised,
                decided_through=known.voted_through,
                voted_through=known.voted_through,
                installed=known.installed,
                incarnations=dict(known.incarnations),
                rejoined=known.rejoined,
            )
            for group, known in self.groups.items()
        }
        seen = {one.node: one for one in self.seen}
        return JournalState(self.forming, self.formed, self.boot, seen, groups)


def next_header(
    number: int, size: int, *, first: int, records: int, digest: Digest, state: JournalState
) -> Header:
    """Return the header of a segment that begins where ``state`` was reached."""
    groups = {
        group: GroupHeader(
            known.promised,
            known.decided_through,
            known.voted_through,
            known.installed,
            tuple(sorted(known.incarnations.items())),
            known.rejoined,
        )
        for group, known in state.groups.items()
    }
    return Header(
        number,
        size,
        first,
        records,
        digest,
        state.boot,
        state.forming,
        state.formed,
        tuple(state.seen.values()),
        groups,
    )


def encode_header(header: Header) -> bytes:
    """Return one copy of ``header``.

    If there are too many members for all that was seen of them, it names as many as it can.

    :raises DiskError: if it does not fit even so, because there are too many groups or members.
    """
    seen = [encode_record(0, one) for one in header.seen]
    body = _body(header, seen)
    while seen and len(body) > _BODY_BYTES_MAX:
        seen.pop()
        body = _body(header, seen)
    if len(body) > _BODY_BYTES_MAX:
        raise DiskError(
            f"the header of journal segment {header.number} would take {len(body)} bytes;"
            " run fewer groups on this node, or give the members shorter names"
        )
    rest = len(body).to_bytes(4, "little") + body.ljust(_BODY_BYTES_MAX, b"\0")
    checksum: int = value(rest)
    return _MAGIC + checksum.to_bytes(4, "little") + rest


def _body(header: Header, seen: list[bytes]) -> bytes:
    return packb(
        (
            VERSION,
            header.number,
            header.size,
            header.first,
            header.records,
            header.digest,
            header.boot,
            header.forming and encode_record(0, header.forming),
            header.formed and encode_record(0, header.formed),
            seen,
            [(group, *known) for group, known in header.groups.items()],
        )
    )


def read_header(data: bytes, path: str) -> tuple[Header, bytes] | None:
    """Return the header in the first bytes of a segment, and the sound copy that it is from.

    Of two sound copies that differ, the one that says more is forgotten is the newer: when
    a header is written again, its copies are written one after the other.

    :returns: None if neither copy is sound.
    :raises StartError: if one is sound, but of a format that is not ours.
    """
    sound = [copy for copy in header_copies(data) if _is_sound(copy)]
    headers = [(_decode(copy, path), copy) for copy in sound]
    return max(headers, key=lambda pair: pair[0].first, default=None)


def header_copies(data: bytes) -> tuple[bytes, bytes]:
    """Return the two places of a segment's first bytes where the header is."""
    return data[:HEADER_BYTES], data[HEADER_BYTES:DATA_START]


def _is_sound(copy: bytes) -> bool:
    if len(copy) < HEADER_BYTES or not copy.startswith(_MAGIC):
        return False
    _, checksum, length = _PREFIX.unpack_from(copy)
    if length > _BODY_BYTES_MAX:
        return False
    return bool(value(copy[_CHECKED_FROM:]) == checksum)


def _decode(copy: bytes, path: str) -> Header:
    _, _, length = _PREFIX.unpack_from(copy)
    try:
        return _made(unpack(copy[_PREFIX.size : _PREFIX.size + length]))
    except WireError as error:
        raise StartError(
            f"{path}: this version of kvpaxos cannot read its header ({error}); start the"
            " version that wrote it"
        ) from error


def _made(fields: list[Any]) -> Header:
    match fields:
        case [
            int(version), number, size, first, records, bytes(digest), boot, forming, formed,
            [*seen], [*groups],
        ] if version == VERSION and len(digest) == DIGEST_BYTES:  # fmt: skip
            return Header(
                count(number),
                count(size),
                count(first),
                count(records),
                digest,
                count(boot),
                None if forming is None else _record(forming, Forming),
                None if formed is None else _record(formed, Formed),
                tuple(_record(one, Seen) for one in seen),
                dict(map(_group, groups)),
            )
        case [version, *_]:
            raise WireError(f"version {version!s:.20} where {VERSION} was expected")
        case _:
            raise WireError("no fields")


def _record(field: object, kind: type[_Known]) -> _Known:
    if isinstance(field, bytes):
        _, record = decode_record(field)
        if isinstance(record, kind):
            return record
    raise WireError(f"expected a {kind.__name__}")


def _group(field: object) -> tuple[int, GroupHeader]:
    match field:
        case [
            group, [number, node], decided_through, voted_through, installed, disks, rejoined,
        ]:  # fmt: skip
            return count(group), GroupHeader(
                Ballot(count(number), NodeId(text(node))),
                Slot(count(decided_through)),
                Slot(count(voted_through)),
                Slot(count(installed)),
                incarnations(disks),
                count(rejoined),
            )
        case _:
            raise WireError("expected a group")
