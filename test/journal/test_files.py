"""The journal on the file system of this machine."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kvpaxos.errors import DiskError, StartError
from kvpaxos.journal.files import OS_FILES, Directory, File, lacks_space, refusal
from kvpaxos.journal.format import SEGMENT_BYTES
from kvpaxos.journal.log import Journal
from kvpaxos.paxos.ballot import Slot
from test.journal.values import FORMED, FORMING, decided, promised, vote, write_batches
from test.journal.values import SEGMENT_BYTES as SMALL

HOLDER = """
import sys
from pathlib import Path
from kvpaxos.journal.log import Journal
from test.journal.values import decided, vote, write_batches
journal = Journal.open(Path(sys.argv[1]), segment_bytes=32768)
write_batches(journal, [[vote(slot, size=2000), decided(slot)] for slot in range(1, 40)])
journal.append(0, [vote(40), decided(40)])
journal.write()
print("ready", flush=True)
sys.stdin.read()
"""
"""Writes a journal and waits, without closing it."""


def test_a_journal_survives_in_files(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "down"
    journal = Journal.open(directory, segment_bytes=SMALL)
    write_batches(journal, [[FORMING, FORMED, promised()]])
    assert journal.prepare_spare()
    write_batches(journal, [[vote(slot, size=900), decided(slot)] for slot in range(1, 60)])
    assert journal.forget(0, Slot(30)) > 0
    kept_from = journal.kept_from(0)
    journal.close()
    again = Journal.open(directory, segment_bytes=SMALL)
    assert again.recovered.forming == FORMING
    assert again.recovered.groups[0].decided_through == 59
    found = again.reader().decided(0, kept_from, Slot(59), 10**9)
    assert [decision.slot for decision in found] == list(range(kept_from, 60))
    assert (again.recovered.torn, again.recovered.mended) == (None, ())
    again.close()


def test_a_segment_has_its_whole_size_from_the_start(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    (path,) = tmp_path.glob("*.log")
    assert path.stat().st_size == SEGMENT_BYTES == journal.bytes
    write_batches(journal, [[vote(1)]])
    assert path.stat().st_size == SEGMENT_BYTES
    journal.close()


def test_a_second_process_is_kept_out_and_a_killed_one_loses_nothing_it_wrote(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(StartError, match="another process is using this journal"):
            Journal.open(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    journal = Journal.open(tmp_path, segment_bytes=SMALL)
    assert journal.recovered.record_count == 80
    assert journal.recovered.groups[0].decided_through == 40
    assert journal.recovered.torn is None
    journal.close()


def test_a_directory_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="cannot make it") as caught:
        Journal.open(tmp_path / "file" / "journal")
    assert "\n" not in str(caught.value)


def test_a_refusal_says_what_to_do() -> None:
    path = Path("/disk/file")
    full = refusal(path, "write", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert str(full) == (
        "/disk/file: cannot write it (No space left on device); free some space there,"
        " and start the node again"
    )
    assert "let this user write there" in str(refusal(path, "open", PermissionError(13, "no")))
    assert "let this process open more files" in str(refusal(path, "open", OSError(24, "many")))
    assert "see that this disk is sound" in str(refusal(path, "sync", OSError(5, "error")))


def test_only_a_full_disk_lacks_space(tmp_path: Path) -> None:
    for code, expected in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)):
        with pytest.raises(DiskError) as caught:
            raise refusal(tmp_path, "write", OSError(code, "")) from OSError(code, "")
        assert lacks_space(caught.value) is expected


def test_a_file_that_is_not_there_is_none_and_not_an_error(tmp_path: Path) -> None:
    directory = Directory(OS_FILES, tmp_path)
    assert directory.open("nothing") is None
    with pytest.raises(DiskError, match="cannot create it"):
        Directory(OS_FILES, tmp_path / "nowhere").create("file")


def test_a_read_beyond_the_end_returns_what_is_there(tmp_path: Path) -> None:
    handle = OS_FILES.create(tmp_path / "file")
    file = File(OS_FILES, tmp_path / "file", handle)
    file.write(b"abc", 0)
    assert (file.read(10, 1), file.read(10, 5), file.size()) == (b"bc", b"", 3)
    file.close()


@pytest.mark.skipif(sys.platform != "linux", reason="fdatasync is what Linux has")
def test_a_sync_is_one_fdatasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path, segment_bytes=SMALL)
    real, synced = os.fdatasync, []

    def counted(handle: int) -> None:
        synced.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fdatasync", counted)
    monkeypatch.setattr(os, "fsync", counted)
    write_batches(journal, [[vote(slot)] for slot in range(1, 11)])
    assert len(synced) == journal.syncs == 10
    journal.close()
