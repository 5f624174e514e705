"""What is damaged is moved out of the way whole, once, and never forgotten."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
from msgpack import packb

from kvpaxos.config.cluster import ClusterConfig, ClusterStorage, NodeConfig, default_cluster
from kvpaxos.engine.shelf import RocksShelf
from kvpaxos.errors import JournalDamaged, StartError
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START, HEADER_BYTES
from kvpaxos.journal.header import read_header
from kvpaxos.journal.log import Journal, Recovered
from kvpaxos.journal.marks import Mark, find_marks
from kvpaxos.node.opening import open_journal
from kvpaxos.node.recovery import formation_of
from kvpaxos.node.repairs import REPAIRS_MAX, REPAIRS_S, Repairs
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import EMPTY, Form
from kvpaxos.paxos.records import Forming, Record
from test.journal.values import (
    FORMED,
    FORMING,
    HIGH,
    batch,
    decided,
    promised,
    vote,
    write_batches,
)
from test.rot.sweep import rots

SEGMENT_BYTES: Final = 32 * 1024

SECTOR: Final = 512

VOTES: Final[list[list[Record]]] = [
    [vote(slot, size=3000), decided(slot - 1)] for slot in range(1, 25)
]

BATCHES: Final[list[list[Record]]] = [
    [FORMING],
    [FORMED],
    *VOTES,
    [promised(HIGH)],
    [vote(25, HIGH, size=600)],
]
"""Three segments full, and one that is not."""


ALONE: Final = Forming("c" * 32, FORMING.node, (FORMING.node,), 1)


class Death(BaseException):
    """The process ends here."""


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return cluster_of(3, tmp_path).nodes[0]


def cluster_of(nodes: int, directory: Path) -> ClusterConfig:
    cluster = default_cluster(nodes, directory=str(directory))
    return ClusterConfig(
        cluster.nodes, storage=ClusterStorage(segment_bytes=SEGMENT_BYTES), source="here"
    )


def opened(directory: Path, nodes: int = 3, node: str = "n01") -> tuple[Journal, Repairs]:
    """Open the journal of a node as a start does."""
    cluster = cluster_of(nodes, directory)
    config = cluster.node(node)
    repairs = Repairs(Path(config.data))
    return open_journal(cluster, config, repairs), repairs


def written(config: NodeConfig, forming: Forming = FORMING) -> list[Path]:
    """Write a journal and a state; return the journal's segments, which are sound."""
    journal = Journal.open(Path(config.data) / "journal", segment_bytes=SEGMENT_BYTES)
    write_batches(journal, [[forming], *BATCHES[1:]])
    journal.close()
    write_state(config, b"old")
    return sorted((Path(config.data) / "journal").glob("*.log"))


def write_state(config: NodeConfig, value: bytes) -> None:
    shelf = RocksShelf(Path(config.data))
    shelf.open().write({b"key": value})
    shelf.close()


def state_in(place: Path) -> bytes | None:
    """Return what the state holds that was moved to ``place``."""
    place.rename(place.with_name("state"))
    shelf = RocksShelf(place.parent)
    held = shelf.open().get(b"key")
    shelf.close()
    place.with_name("state").rename(place)
    return held


def names(config: NodeConfig) -> list[str]:
    return sorted(path.name for path in Path(config.data).iterdir())


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def ruin(path: Path) -> None:
    """Damage a segment so that nobody can mend it."""
    for offset in (100, HEADER_BYTES + 100):
        flip(path, offset)


def zero(path: Path, offset: int) -> None:
    """Zero the sector that ``offset`` is in."""
    data = bytearray(path.read_bytes())
    start = offset // SECTOR * SECTOR
    data[start : start + SECTOR] = bytes(SECTOR)
    path.write_bytes(data)


Where = Callable[[Sequence[Path]], tuple[Path, list[int]]]


def in_one_header(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[0], [100]


def in_both_headers(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[0], [100, HEADER_BYTES + 100]


def in_both_headers_of_the_last(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[-1], [100, HEADER_BYTES + 100]


def in_the_identity(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[0], [DATA_START + 20]


def in_the_middle(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[1], [DATA_START + 9000]


def in_a_mark(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[1], [marks(segments[1])[0].offset + 8]


def in_the_last_mark(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[-1], [marks(segments[-1])[-1].offset + 8]


def in_the_last_record(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[-1], [marks(segments[-1])[-1].start + 40]


def in_the_free_space(segments: Sequence[Path]) -> tuple[Path, list[int]]:
    return segments[-1], [marks(segments[-1])[-1].end + 600]


def marks(path: Path) -> list[Mark]:
    data = path.read_bytes()
    found = read_header(data, "")
    assert found is not None
    return [mark for mark in find_marks(data, found[0].digest) if isinstance(mark, Mark)]


@pytest.mark.parametrize(
    ("where", "damage", "outcome"),
    [
        *((in_one_header, how, "kept") for how in (flip, zero)),
        *((in_both_headers, how, "set aside") for how in (flip, zero)),
        *((in_both_headers_of_the_last, how, "set aside") for how in (flip, zero)),
        (in_the_identity, flip, "kept"),
        (in_the_identity, zero, "asked for"),  # There is a vote in that sector, too.
        *((in_the_middle, how, "asked for") for how in (flip, zero)),
        *((in_a_mark, how, "kept") for how in (flip, zero)),
        *((in_the_last_mark, how, "kept") for how in (flip, zero)),
        *((in_the_last_record, how, "asked for") for how in (flip, zero)),
        *((in_the_free_space, how, "kept") for how in (flip, zero)),
    ],
)
def test_damage_loses_nothing_or_is_asked_for_or_has_the_journal_set_aside(
    damage: Callable[[Path, int], None],
    where: Where,
    outcome: str,
    config: NodeConfig,
    tmp_path: Path,
) -> None:
    segments = written(config)
    sound, _ = opened(tmp_path)
    known = sound.recovered
    sound.close()
    before = {path.name: path.read_bytes() for path in segments}
    path, offsets = where(segments)
    for offset in offsets:
        damage(path, offset)
    damaged = {path.name: path.read_bytes() for path in segments}
    if where is in_the_free_space and damage is zero:
        assert damaged == before, "there was nothing to zero"
    else:
        assert damaged != before

    journal, repairs = opened(tmp_path)
    found = journal.recovered
    if outcome == "kept":
        # Nothing that was ever synced is lost.
        journal.close()
        assert_nothing_is_lost(tmp_path, found, known)
        assert (repairs.set_aside, repairs.mending) == ([], None)
        return
    assert (found.forming, found.groups, found.record_count) == (None, {}, 0)
    (finding,) = repairs.findings
    assert path.name in finding
    if outcome == "asked for":
        assert {path.name: path.read_bytes() for path in segments} == damaged
        with pytest.raises(StartError, match="another process is using this journal"):
            opened(tmp_path)
        assert_what_is_told_mends(repairs)
        journal.close()
        again, _ = opened(tmp_path)
        again.close()
        assert_nothing_is_lost(tmp_path, again.recovered, known)
        assert names(config) == ["journal", "state"]
        return
    journal.close()
    home = Path(config.data)
    assert repairs.set_aside == [home / "journal.damaged-1", home / "state.damaged-1"]
    kept = {path.name: path.read_bytes() for path in (home / "journal.damaged-1").glob("*.log")}
    assert kept == damaged
    assert state_in(home / "state.damaged-1") == b"old"


def assert_nothing_is_lost(directory: Path, found: Recovered, known: Recovered) -> None:
    assert (found.forming, found.formed, found.boot) == (known.forming, known.formed, 0)
    assert found.groups == known.groups
    again, _ = opened(directory)
    again.close()
    assert (again.recovered.torn, again.recovered.mended) == (None, ())


def assert_what_is_told_mends(repairs: Repairs) -> None:
    mending = repairs.mending
    assert mending is not None
    for wanted in list(mending.wanted):
        for size in (600, 3000):
            mending.take(wanted, batch(wanted.slot, size))
    repairs.mend_journal(mending)
    assert repairs.mended == mending.records > 0


def test_a_journal_that_was_given_up_is_set_aside_whatever_could_be_mended_of_it(
    config: NodeConfig, tmp_path: Path
) -> None:
    flip(written(config)[1], DATA_START + 9000)
    repairs = Repairs(Path(config.data))
    repairs.given_up = True
    cluster = cluster_of(3, tmp_path)
    journal = open_journal(cluster, config, repairs)
    journal.close()
    assert repairs.without_journal
    assert (repairs.mending, repairs.given_up) == (None, False)


def test_a_node_without_others_mends_what_needs_nobody(tmp_path: Path) -> None:
    config = cluster_of(1, tmp_path).nodes[0]
    journal = Journal.open(Path(config.data) / "journal", segment_bytes=SEGMENT_BYTES)
    write_batches(journal, [[ALONE, promised()]])
    journal.append(0, [vote(1)])
    journal.close()
    (segment,) = (Path(config.data) / "journal").glob("*.log")
    whole = segment.read_bytes()
    flip(segment, whole.index(packb(promised().ballot)))
    assert segment.read_bytes() != whole
    journal, repairs = opened(tmp_path, nodes=1)
    journal.close()
    assert repairs.mended == 1
    flip(segment, segment.read_bytes().index(b"1:xxx"))
    with pytest.raises(JournalDamaged, match="Vote in slot 1"):
        opened(tmp_path, nodes=1)


def test_a_batch_that_never_arrived_whole_is_cut_and_nothing_is_set_aside(
    config: NodeConfig, tmp_path: Path
) -> None:
    last = written(config)[-1]
    mark = marks(last)[-1]
    # As a power cut leaves it that comes before the mark has reached the disk.
    for offset in range(mark.offset, mark.offset + mark.space, SECTOR):
        zero(last, offset)
    zero(last, mark.offset + mark.space - 1)
    zero(last, mark.end - 1)
    journal, repairs = opened(tmp_path)
    journal.close()
    assert journal.recovered.torn is not None
    assert repairs.set_aside == []


def test_what_was_set_aside_is_neither_overwritten_nor_deleted(
    config: NodeConfig, tmp_path: Path
) -> None:
    repairs = Repairs(Path(config.data))
    for number in (1, 2, 3):
        ruin(written(config)[0])
        write_state(config, b"state %d" % number)
        journal, repairs = opened(tmp_path)
        journal.close()
        assert len(repairs.set_aside) == 2 * number
    # Neither by a state that is damaged while its journal is not.
    for _ in range(2):
        write_state(config, b"alone")
        repairs.put_state_aside(RocksShelf(Path(config.data)), StartError("it is damaged"))
    RocksShelf(Path(config.data)).clear()
    kept = [f"{kind}.damaged-{number}" for kind in ("journal", "state") for number in (1, 2, 3)]
    assert names(config) == ["journal", *kept, "state.damaged-5"]
    for number in (1, 2, 3):
        assert state_in(Path(config.data) / f"state.damaged-{number}") == b"state %d" % number


def test_a_death_between_any_two_steps_leaves_what_the_next_start_completes(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    steps = 0

    def dying(path: Path, target: Path) -> Path:
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise Death
        return rename(path, target)

    for deaths in range(5):
        ruin(written(config)[0])
        steps = deaths
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", dying)
            try:
                journal, _ = opened(tmp_path)
            except Death:
                pass
            else:
                journal.close()
                assert deaths >= 2
        journal, repairs = opened(tmp_path)
        journal.close()
        assert journal.recovered.forming is None
        number = deaths + 1
        assert [path.name for path in repairs.set_aside] == [
            f"{kind}.damaged-{one}" for kind in ("journal", "state") for one in range(1, number + 1)
        ]
        assert state_in(Path(config.data) / f"state.damaged-{number}") == b"old"


def test_a_node_that_set_its_journal_aside_comes_back_and_forms_no_cluster(
    config: NodeConfig, tmp_path: Path
) -> None:
    ruin(written(config)[0])
    opened(tmp_path)[0].close()
    # Also at the next start, which finds an empty journal and nothing wrong.
    journal, repairs = opened(tmp_path)
    assert repairs.without_journal
    members = cluster_of(3, tmp_path).members
    again = formation_of(journal, "n01", members, "new", may_form=False, may_rejoin=True)
    journal.close()
    # All others are empty too, and it would coordinate.
    assert again.heard(NodeId("n02"), EMPTY).record is None
    assert again.heard(NodeId("n03"), EMPTY).record is None
    assert again.asked(NodeId("n02"), Form("new", again.members)).record is None


def test_a_journal_that_is_sound_when_it_is_read_again_stays(config: NodeConfig) -> None:
    written(config)
    repairs = Repairs(Path(config.data))
    repairs.put_journal_aside(RocksShelf(Path(config.data)))
    assert repairs.set_aside == []
    assert names(config) == ["journal", "state"]


def test_a_journal_that_another_process_has_is_not_touched(
    config: NodeConfig, tmp_path: Path
) -> None:
    ruin(written(config)[0])
    opened(tmp_path)[0].close()
    running = opened(tmp_path)[0]
    before = names(config)
    repairs = Repairs(Path(config.data))
    with pytest.raises(StartError, match="another process is using this journal"):
        repairs.put_journal_aside(RocksShelf(Path(config.data)))
    assert names(config) == before
    running.close()


def test_without_other_members_a_damaged_journal_stays_and_the_node_is_refused(
    tmp_path: Path,
) -> None:
    config = cluster_of(1, tmp_path).nodes[0]
    segments = written(config, ALONE)
    flip(segments[0], DATA_START + 4000)
    before = segments[0].read_bytes()
    with pytest.raises(JournalDamaged, match="one that has none needs a sound copy"):
        opened(tmp_path, nodes=1)
    assert names(config) == ["journal", "state"]
    assert segments[0].read_bytes() == before


@pytest.mark.parametrize("segment", [0, 1, 3])
def test_damage_in_a_journal_of_another_node_is_not_ours_to_repair(
    segment: int, config: NodeConfig, tmp_path: Path
) -> None:
    segments = written(config)
    flip(segments[segment], DATA_START + 4000)
    cluster = cluster_of(3, tmp_path)
    other = NodeConfig("n02", "tcp:1", "tcp:2", "tcp:3", None, config.data)
    with pytest.raises(StartError, match="that of n01, and this node is n02"):
        open_journal(cluster, other, Repairs(Path(config.data)))
    assert names(config) == ["journal", "state"]


def test_damage_names_whose_journal_it_is_as_long_as_a_header_says_so(config: NodeConfig) -> None:
    segments = written(config)
    for offset in (100, HEADER_BYTES + 100):
        flip(segments[0], offset)
    with pytest.raises(DamagedRecords) as caught:
        Journal.open(segments[0].parent, segment_bytes=SEGMENT_BYTES)
    assert caught.value.forming == FORMING
    assert isinstance(caught.value.forming, Forming)


def test_a_node_is_started_again_a_few_times_and_then_not_for_a_while(tmp_path: Path) -> None:
    repairs = Repairs(tmp_path)
    assert [repairs.may_start_again(float(n)) for n in range(REPAIRS_MAX)] == [True] * REPAIRS_MAX
    assert not repairs.may_start_again(REPAIRS_S - 1)
    assert repairs.may_start_again(REPAIRS_S)
    assert not repairs.may_start_again(REPAIRS_S)
    assert repairs.count == REPAIRS_MAX + 1


def test_each_sector_of_a_journal_may_rot_and_no_promise_and_no_vote_is_denied(
    config: NodeConfig, tmp_path: Path
) -> None:
    written(config)
    sound, struck = Path(config.data) / "journal", tmp_path / "struck"
    journal = Journal.open(sound, segment_bytes=SEGMENT_BYTES)
    journal.close()
    counts: Counter[str] = Counter()
    for rot in rots(sound):
        shutil.rmtree(struck, ignore_errors=True)
        shutil.copytree(sound, struck)
        if not rot.strike(struck):
            continue
        try:
            found = Journal.open(struck, segment_bytes=SEGMENT_BYTES)
        except DamagedRecords:
            counts["repaired"] += 1
            continue
        found.close()
        assert found.recovered.groups == journal.recovered.groups
        assert found.recovered.formed == journal.recovered.formed
        counts["kept"] += 1
    # Most of it is records; marks, single headers and free space do no harm.
    assert counts["repaired"] > 200
    assert counts["kept"] > 100
