"""``kvpaxos recover``, carried out."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kvpaxos.cli.archive import PIECE_BYTES, Archive, check, described, replacing
from kvpaxos.cli.observer import look_at
from kvpaxos.cli.output import counted, print_json, print_line
from kvpaxos.cli.remains import Remains, remains, stopped
from kvpaxos.cli.report import NodeReport
from kvpaxos.cli.statuses import REFUSED, Told, say
from kvpaxos.errors import ConfigError
from kvpaxos.node.recovery import GROUP, check_restored
from kvpaxos.node.settings import read_settings
from kvpaxos.store.backup import Header


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, in the words of the command line.

    :ivar votes: take the votes too of which nobody knows whether they were decided.
    """

    node: str
    data: str | None
    output: str | None
    settings: str | None
    accepted: bool
    force: bool
    votes: bool


def recover(wanted: Wanted, *, as_json: bool) -> None:
    """Say what the disk of a node holds, or write all of it into a file.

    :raises Told: the cluster can go on without that.
    """
    cluster = read_settings(wanted.settings)
    if cluster.options.volatile:
        raise ConfigError(
            f'{cluster.source} says "volatile": its nodes keep nothing on a disk, so nothing can be'
            " recovered."
        )
    directory = Path(wanted.data or cluster.node(wanted.node).data)
    check_restored(directory)
    limit = cluster.limits.value_bytes_max
    with (
        stopped(directory),
        remains(directory, wanted.node, value_bytes_max=limit, votes=wanted.votes) as found,
    ):
        others = look_at([(one.node, one.url) for one in cluster.nodes if one.node != wanted.node])
        _refuse_if_needless(wanted.node, found, others)
        for sentence in _warnings(wanted.node, found, others):
            say(sentence)
        file = wanted.output or f"recovered-{wanted.node}.kvb"
        if wanted.accepted:
            header = _write(found, Path(file), force=wanted.force)
        else:
            header = _header(found)
    if as_json:
        print_json(_as_json(found, header, file if wanted.accepted else None))
    else:
        _tell(wanted, found, header, file)


def _refuse_if_needless(node: str, found: Remains, others: list[NodeReport]) -> None:
    """Make sure that the nodes that have their disks are no majority.

    :raises Told: they are.
    """
    serving = [one.node for one in others if one.answered and one.trouble is None]
    if serving:
        raise Told(
            f"{', '.join(serving)} can serve, so nothing needs to be recovered: start {node} on its"
            ' disk, or if it has lost that, with an empty directory ("kvpaxos node replace").',
            REFUSED,
        )
    sound = [one.node for one in others if _is_sound(one, found.cluster)]
    members = len(found.members)
    if 2 * (len(sound) + found.may_vote) > members:
        raise Told(
            f"{', '.join([*sound, *[node] * found.may_vote])} have their disks, which is a majority"
            f" of {members} nodes: start them all, and nothing is lost.",
            REFUSED,
        )


def _is_sound(other: NodeReport, cluster: str) -> bool:
    formed = other.answered and other.role != "forming"
    return formed and not other.waits_for and other.described.get("cluster") == cluster


def _warnings(node: str, found: Remains, others: list[NodeReport]) -> list[str]:
    told = [f"{trouble} is damaged; what is behind it is left out" for trouble in found.troubles]
    silent = [one.node for one in others if not one.answered]
    if silent:
        told.append(
            f"{', '.join(silent)} cannot be asked: if their disks are there, start them instead, or"
            " look at each with this command"
        )
    if not found.may_vote:
        told.append(
            f"{node} itself came back with an empty disk and has not learnt all that it needs:"
            " another node may hold more"
        )
    return told


def _header(found: Remains) -> Header:
    machine, slot = found.state.machine, found.voted_through
    return Header(found.cluster, GROUP, slot, machine.revision, machine.count, machine.digest)


def _write(found: Remains, path: Path, *, force: bool) -> Header:
    with replacing(path, force=force) as (draft, file):
        header = _archive(found, file)
        file.flush()
        os.fsync(file.fileno())
        check(draft, header)
    return header


def _archive(found: Remains, file: BinaryIO) -> Header:
    header = _header(found)
    file.seek(0)
    file.truncate()
    with closing(found.state.machine.view()) as view:
        archive = Archive(file, header)
        after: bytes | None = None
        while piece := view.piece(after, PIECE_BYTES):
            archive.add(piece)
            after = piece[-1][0]
        archive.end()
    return header


def _as_json(found: Remains, header: Header, file: str | None) -> dict[str, object]:
    return {
        "success": True,
        "file": file,
        **described(header),
        "stored_through": found.stored_through,
        "decided_through": found.decided_through,
        "voted_through": found.voted_through,
        "left_out": list(found.left_out),
        "journal_written_at": found.written_at,
    }


def _tell(wanted: Wanted, found: Remains, header: Header, file: str) -> None:
    node, slot = wanted.node, found.voted_through
    keys = counted(header.count, "key")
    print_line(
        f"{node} of the cluster {found.cluster}: {keys}, revision {header.revision}, as after"
        f" slot {slot}"
    )
    print_line(
        f"every slot through {found.decided_through} is known to be decided; its journal was last"
        f" written to at {found.written_at}"
    )
    if slot > found.decided_through:
        print_line(
            f"it has voted in the slots {found.decided_through + 1} to {slot}, which may have been"
            " decided or not: they are taken as decided, unless --decided-only is given"
        )
    if found.left_out:
        print_line(f"its votes in the slots {_list(found.left_out)} are left out")
    if wanted.accepted:
        _tell_what_is_next(node, file)
    else:
        print_line(
            f"lost would be whatever was acknowledged in the slots after {slot}; how much that is,"
            " only the other disks know"
        )
        print_line("nothing was done: bring back another disk, or do it with --accept-data-loss")


def _tell_what_is_next(node: str, file: str) -> None:
    print_line(f"all of it is in {file}; nothing in the directory of {node} was changed")
    print_line("now stop all nodes, copy that file to each machine, and make each node of it:")
    print_line(f"    kvpaxos restore {file} --set-aside --node NAME")
    print_line(
        "or all of them, if they are on this machine, without --node; then start them all,"
        " without --rejoin"
    )


def _list(slots: tuple[int, ...]) -> str:
    return f"{slots[0]} to {slots[-1]}" if len(slots) > 1 else f"{slots[0]}"
