"""``kvpaxos verify``, carried out. Nothing that it looks at is touched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from kvpaxos.cli.archive import described, read, reader_of
from kvpaxos.cli.bar import Bar
from kvpaxos.cli.decided import JOURNAL_NAME
from kvpaxos.cli.output import print_json
from kvpaxos.cli.statuses import DONE, FAILED, say
from kvpaxos.engine.inspection import RocksInspection
from kvpaxos.engine.shelf import STATE
from kvpaxos.errors import (
    BackupDamaged,
    ConfigError,
    DiskError,
    JournalDamaged,
    StartError,
    StateDamaged,
)
from kvpaxos.journal.inspection import Inspection, owner
from kvpaxos.node.recovery import GROUP, check_restored
from kvpaxos.node.state import State
from kvpaxos.store.intake import Tally
from kvpaxos.store.limits import VALUE_BYTES_MAX

PIECE_BYTES: Final = 1024 * 1024
"""How much of a state is read at a time."""

_NO_SLOT: Final = 0


class Verdict:
    """What was found.

    :ivar parts: what each part holds, as far as it can be known.
    :ivar troubles: what is wrong.
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, object]] = {}
        self.troubles: list[str] = []

    def look(self, look: Callable[[Path], dict[str, object]], name: str, path: Path) -> None:
        """Look at one part, and note what is wrong with it."""
        try:
            self.parts[name] = look(path)
        except (BackupDamaged, JournalDamaged, StateDamaged, DiskError) as error:
            self.troubles.append(str(error))


def verify(name: str, *, as_json: bool) -> int:
    """Check what is at ``name``, tell what was found, and return the exit status."""
    path = Path(name)
    verdict = Verdict()
    if path.is_dir():
        _verify_node(path, verdict)
    else:
        verdict.look(_backup, "backup", path)
    if as_json:
        sound = not verdict.troubles
        print_json({"success": sound, "troubles": verdict.troubles, **verdict.parts})
    else:
        for part, found in verdict.parts.items():
            known = {name: fact for name, fact in found.items() if fact not in (None, False)}
            facts = ", ".join(f"{name.replace('_', ' ')} {fact}" for name, fact in known.items())
            print(f"{part}: {facts or 'no decided slots'}")  # noqa: T201 -- it is what was asked for
    for trouble in verdict.troubles:
        say(trouble)
    if not verdict.troubles and not as_json:
        print(f"{name} is whole")  # noqa: T201
    return FAILED if verdict.troubles else DONE


def _backup(path: Path) -> dict[str, object]:
    reader = reader_of(str(path))
    for _ in read(path, reader, "verify"):
        pass
    return {**described(reader.finish()), "bytes": path.stat().st_size}


def _verify_node(directory: Path, verdict: Verdict) -> None:
    journal, state = directory / JOURNAL_NAME, directory / STATE
    if not journal.is_dir() or not state.is_dir():
        raise ConfigError(
            f"{directory} does not hold a journal and a state; name a backup, or the data directory"
            " of a node."
        )
    pid = owner(journal)
    if pid is not None:
        raise ConfigError(
            f"{directory} is in use by process {pid}; stop that node first, or check a backup."
        )

    def look_at_journal(path: Path) -> dict[str, object]:
        inspection = Inspection(path)
        first = last = None
        for decision in inspection.decided(GROUP):
            first = first or decision.slot
            last = decision.slot
        for damage in inspection.damage:
            verdict.troubles.append(
                f"{damage.path}: {damage.what} at byte {damage.offset} is damaged; start the node:"
                " it mends that with what the other members know. If it has none, bring back a"
                " sound copy of this same disk, or restore a backup"
            )
        return {"first_slot": first, "last_slot": last, "empty": inspection.empty}

    try:
        check_restored(directory)
    except StartError as error:
        verdict.troubles.append(str(error))
    verdict.look(look_at_journal, "journal", journal)
    verdict.look(_state, "state", state)
    if not verdict.troubles:
        _compare(directory, verdict)


def _state(path: Path) -> dict[str, object]:
    with closing(RocksInspection(path)) as engine:
        state = State(engine, GROUP, value_bytes_max=VALUE_BYTES_MAX)
        tally = Tally(GROUP)
        with (
            closing(state.machine.view()) as view,
            Bar("verify", view.count, things="keys") as bar,
        ):
            while piece := view.piece(tally.after, PIECE_BYTES):
                tally.add(piece)
                bar.show(tally.keys, tally.keys)
            try:
                tally.finish(view.digest)
            except StateDamaged:
                raise StateDamaged(
                    str(path), "its records are not those that its digest is of"
                ) from None
            return {
                "slot": state.applied,
                "keys": view.count,
                "revision": view.revision,
                "digest": f"{view.digest:032x}",
                "bytes": tally.bytes,
            }


def _compare(directory: Path, verdict: Verdict) -> None:
    """Note it if journal and state, each whole, do not belong together."""
    first, applied = verdict.parts["journal"]["first_slot"], verdict.parts["state"]["slot"]
    assert isinstance(applied, int)
    if verdict.parts["journal"]["empty"] and applied != _NO_SLOT:
        verdict.troubles.append(
            f"{directory}: the state holds {applied} slots, and the journal beside it is empty: it"
            " was lost or swapped"
        )
    elif isinstance(first, int) and applied + 1 < first:
        verdict.troubles.append(
            f"{directory}: the state ends at slot {applied}, and the journal begins at {first}: the"
            " state was lost or is an old copy"
        )
