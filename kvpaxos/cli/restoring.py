"""``kvpaxos restore``, carried out.

A data directory is made in an order in which no part of it can be taken for the whole: the journal
comes first, and says through which slot the state goes; the state says so itself with its last
write. Meanwhile a file lies beside them, and while that is there no node starts.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from kvpaxos.cli.archive import described, read, reader_of
from kvpaxos.cli.aside import in_the_way, set_aside
from kvpaxos.cli.decided import JOURNAL_NAME
from kvpaxos.cli.observer import look_at
from kvpaxos.cli.output import counted, print_json
from kvpaxos.cli.remains import stopped
from kvpaxos.cli.statuses import say
from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.engine.shelf import STATE
from kvpaxos.errors import BackupUnreadable, ConfigError
from kvpaxos.journal.files import OS_FILES
from kvpaxos.journal.log import Journal
from kvpaxos.node.preflight import check_directory
from kvpaxos.node.recovery import GROUP, UNFINISHED, check_restored
from kvpaxos.node.settings import read_settings
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.records import Installed
from kvpaxos.store.backup import Header
from kvpaxos.store.restoration import Restoration


def restore(
    name: str, nodes: Sequence[str], settings: str | None, *, aside: bool, as_json: bool
) -> None:
    """Make the data directories of ``nodes``, or of all in the settings, from the file ``name``.

    :param aside: move what is there out of the way, once it is known that the backup is whole.
    """
    cluster = read_settings(settings)
    if cluster.options.volatile:
        raise ConfigError(
            f'{cluster.source} says "volatile": its nodes keep nothing on a disk, so nothing can be'
            " restored there."
        )
    chosen = [cluster.node(node) for node in dict.fromkeys(nodes or cluster.members)]
    # First of all, what has nothing to do with the directories.
    with closing(read(Path(name), reader_of(name), "check")) as pieces:
        next(pieces, None)
    _check_alone(cluster)
    if aside:
        _set_aside(Path(name), chosen)
    for node in chosen:
        _check_empty(node)
    made: dict[str, object] = {}
    for node in chosen:
        header, digest = _restore(Path(name), node, cluster)
        made = {**described(header), "digest": f"{digest:032x}"}
        if not as_json:
            print(  # noqa: T201 -- it is what was asked for
                f"{node.node}: {counted(header.count, 'key')} in {node.data}, revision"
                f" {header.revision}, as after slot {header.slot}; digest {digest:032x}"
            )
    if as_json:
        print_json({"success": True, "nodes": [node.node for node in chosen], **made})
    elif len(chosen) < len(cluster.nodes):
        others = [node for node in cluster.members if node not in {one.node for one in chosen}]
        print(f"restore the same backup for {', '.join(others)}, then start all nodes")  # noqa: T201


def _check_alone(cluster: ClusterConfig) -> None:
    """Make sure that no node of ``cluster`` is part of one that has formed, as far as they answer.

    :raises ConfigError: one is.
    """
    for report in look_at([(node.node, node.url) for node in cluster.nodes]):
        formed = report.described.get("cluster")
        if formed:
            raise ConfigError(
                f"{report.node} answers at {report.url}, and is part of the cluster {formed}: stop"
                " all nodes of it for good before they are restored. If it serves, and one node has"
                ' lost its disk, that needs no backup: use "kvpaxos node replace". Nothing was'
                " changed."
            )


def _set_aside(path: Path, nodes: Sequence[NodeConfig]) -> None:
    for _ in read(path, reader_of(str(path)), "check"):
        pass
    directories = [Path(node.data) for node in nodes]
    for directory in directories:
        if (directory / JOURNAL_NAME).exists():
            with stopped(directory):
                pass
    for node, directory in zip(nodes, directories, strict=True):
        place = set_aside(directory)
        if place is not None:
            say(f"{node.node}: what was in {directory} is in {place} now")


def _check_empty(node: NodeConfig) -> None:
    """Make sure that nothing is lost if the data directory of ``node`` is made.

    :raises ConfigError: something is there.
    """
    check_directory(node)
    directory = Path(node.data)
    try:
        names = in_the_way(directory)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}; let this user read it.") from None
    check_restored(directory)
    if names:
        raise ConfigError(
            f"{directory} is not empty, and {node.node} can be restored into an empty directory"
            " only; move away what is there, or have --set-aside do it, or name another directory"
            " in the settings."
        )


def _restore(path: Path, node: NodeConfig, cluster: ClusterConfig) -> tuple[Header, int]:
    """Make the data directory of ``node``; return what it is of, and the digest of its state."""
    directory = Path(node.data)
    existed = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return _fill(directory, path, node, cluster)
    except BaseException:
        # Nothing that was there before is lost: it was empty.
        for made in (JOURNAL_NAME, STATE):
            shutil.rmtree(directory / made, ignore_errors=True)
        (directory / UNFINISHED).unlink(missing_ok=True)
        if not existed:
            directory.rmdir()
        raise


def _fill(
    directory: Path, path: Path, node: NodeConfig, cluster: ClusterConfig
) -> tuple[Header, int]:
    unfinished = directory / UNFINISHED
    unfinished.touch()
    OS_FILES.sync_directory(directory)
    reader = reader_of(str(path))
    pieces = read(path, reader, f"restore {node.node}")
    first = next(pieces, [])
    header = reader.header
    assert header is not None, "it comes before the records"
    if header.group != GROUP:
        raise BackupUnreadable(f"{path} is of the group {header.group}, which no node here has.")
    with closing(Journal.open(directory / JOURNAL_NAME)) as journal:
        journal.append(GROUP, [Installed(Slot(header.slot))])
        journal.sync()
    with closing(RocksEngine(directory / STATE)) as engine:
        restoration = Restoration(engine, GROUP)
        restoration.add(first)
        for piece in pieces:
            restoration.add(piece)
        # All of it is proved by now.
        restoration.finish(header.count, header.revision)
        engine.flush()
        state = State(engine, GROUP, value_bytes_max=cluster.limits.value_bytes_max)
        state.commit(Slot(header.slot))
        engine.flush()
        digest = state.machine.digest
    unfinished.unlink()
    OS_FILES.sync_directory(directory)
    return header, digest
