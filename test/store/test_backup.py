"""The format of backups: what is written is read again, and whatever else is there is found."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import BackupDamaged, BackupUnreadable, StartError
from kvpaxos.store.backup import (
    FORMAT,
    FRAME_BYTES_MAX,
    BackupReader,
    BackupWriter,
    Header,
    decode_records,
    encode_records,
)
from kvpaxos.store.commands import Append, Delete, Set
from kvpaxos.store.layout import Layout
from kvpaxos.store.machine import Machine
from kvpaxos.store.meta import Meta
from kvpaxos.store.requests import Named, Numbered
from kvpaxos.store.restoration import Restoration
from kvpaxos.store.results import Refusal, Result
from kvpaxos.store.view import Record
from test.store.building import GROUP, LIFE, Caller, submission, write

CLUSTER = "0123456789abcdef" * 2
SLOT = 77
WIDE = 10**6


def unpack(packed: bytes) -> bytes:
    try:
        return zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(str(error)) from error


@pytest.fixture
def machine() -> Machine:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    call = Caller(machine)
    for number in range(9):
        call(Set(b"%02d" % number, b"v" * number), Numbered(b"client", number + 1))
    call(Append(b"07", b"more"), Named(b"request"))
    call(Delete(b"03"))
    write(machine, engine)
    return machine


def header_of(machine: Machine) -> Header:
    return Header(CLUSTER, GROUP, SLOT, machine.revision, machine.count, machine.digest)


def pieces(machine: Machine, bytes_max: int) -> Iterator[list[Record]]:
    view = machine.view()
    after = None
    while piece := view.piece(after, bytes_max):
        yield piece
        after = piece[-1][0]


def frames(machine: Machine, *, packed: bool = False, bytes_max: int = 200) -> list[bytes]:
    writer = BackupWriter(header_of(machine))
    pack = zlib.compress if packed else None
    written = [writer.begin()]
    written += [writer.add(piece, pack) for piece in pieces(machine, bytes_max)]
    return [*written, writer.end()]


def read(data: bytes, step: int = WIDE) -> tuple[Header, list[Record]]:
    reader = BackupReader("it", unpack)
    records: list[Record] = []
    for start in range(0, len(data), step):
        for piece in reader.feed(data[start : start + step]):
            records += piece
    header = reader.finish()
    assert reader.tally.records == len(records)
    return header, records


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bytes_max", [1, 200, WIDE])
@pytest.mark.parametrize("step", [1, 7, WIDE])
def test_what_is_written_is_read_again_however_it_is_cut(
    machine: Machine, bytes_max: int, step: int, *, packed: bool
) -> None:
    data = b"".join(frames(machine, packed=packed, bytes_max=bytes_max))
    (whole,) = pieces(machine, WIDE)
    assert read(data, step) == (header_of(machine), whole)


def test_a_backup_of_nothing_is_a_backup() -> None:
    empty = Machine(MemoryEngine(), GROUP)
    assert read(b"".join(frames(empty))) == (header_of(empty), [])


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_found(machine: Machine, *, packed: bool) -> None:
    data = b"".join(frames(machine, packed=packed))
    for length in range(16, len(data)):
        with pytest.raises(BackupDamaged, match="it ends too early") as caught:
            read(data[:length])
        assert caught.value.offset == length
    for length in range(16):
        with pytest.raises(BackupUnreadable, match="no backup made by kvpaxos"):
            read(data[:length])


@pytest.mark.parametrize("packed", [False, True])
def test_every_changed_byte_is_found(machine: Machine, *, packed: bool) -> None:
    data = b"".join(frames(machine, packed=packed))
    for place in range(len(data)):
        for change in (1, 0x80, 0xFF):
            wrong = bytearray(data)
            wrong[place] ^= change
            with pytest.raises((BackupDamaged, BackupUnreadable)) as caught:
                read(bytes(wrong))
            # At the frame that holds it, or before.
            if isinstance(caught.value, BackupDamaged) and "ends too" not in str(caught.value):
                assert caught.value.offset <= place


@pytest.mark.parametrize("step", [1, WIDE])
def test_bytes_behind_the_end_are_found(machine: Machine, step: int) -> None:
    data = b"".join(frames(machine))
    with pytest.raises(BackupDamaged, match="more bytes behind its end") as caught:
        read(data + b"\0", step)
    assert caught.value.offset == len(data)


def test_frames_that_are_missing_moved_or_there_twice_are_found(machine: Machine) -> None:
    begin, *middle, end = frames(machine)
    first, second, *rest = middle
    assert rest
    wrong = {
        "missing": [begin, first, *rest, end],
        "swapped": [begin, second, first, *rest, end],
        "twice": [begin, first, first, second, *rest, end],
        "another's": [begin, first, frames(machine, bytes_max=150)[2], *rest, end],
    }
    for what, written in wrong.items():
        with pytest.raises(BackupDamaged, match="not what was written"):
            read(b"".join(written))
        assert what


def forged(header: Header, records: list[Record]) -> bytes:
    """Return a backup whose frames are whole, whatever they say."""
    writer = BackupWriter(header)
    return writer.begin() + writer.add(records) + writer.end()


def test_frames_that_are_whole_must_make_the_state_that_they_name(machine: Machine) -> None:
    (whole,) = pieces(machine, WIDE)
    header = header_of(machine)
    assert read(forged(header, whole)) == (header, whole)
    place, held = whole[5]
    other = Header(CLUSTER, GROUP, SLOT, header.revision, header.count, header.digest ^ 1)
    for wrong, records in {
        header: [*whole[:5], (place, held + b"x"), *whole[6:]],
        other: whole,
        Header(CLUSTER, GROUP + 1, SLOT, 0, 0, header.digest): whole,
    }.items():
        with pytest.raises(BackupDamaged, match="do not make the state"):
            read(forged(wrong, records))
    miscounted = Header(CLUSTER, GROUP, SLOT, header.revision, 0, header.digest)
    with pytest.raises(BackupDamaged, match="another number"):
        read(forged(miscounted, whole))


def test_records_of_another_format_of_the_state_are_left_to_its_version(machine: Machine) -> None:
    meta = (Layout(GROUP).meta, b"\xfe" + Meta().encode()[1:])
    with pytest.raises(StartError, match="format 254"):
        read(forged(header_of(machine), [meta]))


def test_packed_records_that_cannot_be_unpacked_are_damage(machine: Machine) -> None:
    writer = BackupWriter(header_of(machine))
    (whole,) = pieces(machine, WIDE)
    data = writer.begin() + writer.add(whole, lambda payload: payload) + writer.end()
    with pytest.raises(BackupDamaged, match="makes no sense"):
        read(data)


@pytest.mark.parametrize("data", [b"", b"x", b'[["key","value"]]', b"PK\3\4" * 99])
def test_what_is_no_backup_is_called_that(data: bytes) -> None:
    with pytest.raises(BackupUnreadable, match=r"^it is no backup made by kvpaxos"):
        read(data)


def test_another_format_is_left_to_the_version_that_made_it(machine: Machine) -> None:
    data = bytearray(b"".join(frames(machine)))
    data[15] = FORMAT + 1
    with pytest.raises(BackupUnreadable, match="backup of format 2, and this version"):
        read(bytes(data))


def test_a_length_that_cannot_be_is_not_waited_for(machine: Machine) -> None:
    begin = frames(machine)[0]
    long = (FRAME_BYTES_MAX + 1).to_bytes(4, "big")
    with pytest.raises(BackupDamaged, match="cannot be so long"):
        read(begin + b"\2" + long)


@pytest.mark.parametrize("payload", [b"\0" * 7, b"\0\0\0\1\0\0\0\0", b"\0\0\0\1\0\0\0\2ab"])
def test_records_that_are_cut_short_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        list(decode_records(payload))


def test_records_are_bytes_and_back() -> None:
    records = [(b"a", b""), (b"", b"b"), (b"c" * 300, b"d" * 70_000)]
    assert list(decode_records(encode_records(records))) == records


# Restored.


def restored(machine: Machine, bytes_max: int) -> Machine:
    engine = MemoryEngine()
    restoration = Restoration(engine, GROUP)
    for piece in pieces(machine, bytes_max):
        restoration.add(piece)
    restoration.finish(machine.count, machine.revision)
    return Machine(engine, GROUP)


def test_a_restored_state_is_the_same_but_for_the_sessions_of_nodes(machine: Machine) -> None:
    copy = restored(machine, 200)
    assert (copy.count, copy.revision) == (machine.count, machine.revision)
    assert copy.view().page(None, 99, WIDE) == machine.view().page(None, 99, WIDE)
    assert copy.remembered == machine.remembered
    assert copy.view().recompute_digest() == copy.digest != machine.digest
    gone = set(next(pieces(machine, WIDE))) - set(next(pieces(copy, WIDE)))
    assert {place[4] for place, _ in gone} == {0x00, 0x10, 0x11}


def test_all_restored_states_of_one_backup_are_equal(machine: Machine) -> None:
    assert restored(machine, 1).digest == restored(machine, WIDE).digest


def test_a_node_of_the_new_cluster_begins_its_life_anew(machine: Machine) -> None:
    old = submission(Set(b"a", b"b"), 1, life=LIFE - 1)
    assert machine.apply(old) is Refusal.OLD_LIFE
    copy = restored(machine, WIDE)
    before = copy.revision
    assert copy.apply(old) == Result("ok", None, before + 1)


def test_a_request_that_was_answered_before_the_backup_is_answered_again(machine: Machine) -> None:
    copy = restored(machine, WIDE)
    call = Caller(copy)
    assert call(Append(b"07", b"more"), Named(b"request")).value == b"v" * 7 + b"more"
    assert call(Set(b"08", b"v" * 8), Numbered(b"client", 9)).outcome == "ok"
    assert call(Set(b"08", b"other"), Numbered(b"client", 8)).outcome == "stale"
    assert copy.revision == machine.revision
    assert copy.count == machine.count
