"""Every exception that kvpaxos raises on purpose.

They are divided by what the caller should do about them.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

Applied: TypeAlias = Literal["no", "unknown"]
"""Whether a request that failed was carried out. A request that was has not failed."""


class KvPaxosError(Exception):
    """Base of all kvpaxos errors."""


class Unavailable(KvPaxosError):
    """The request was not carried out, and it is safe to send it again."""

    applied: ClassVar[Applied] = "no"


class NoSpace(Unavailable):
    """The node's disk is nearly full: it takes no writes but deletions. Others may."""


class OutcomeUnknown(KvPaxosError):
    """The request may or may not have been carried out."""

    applied: ClassVar[Applied] = "unknown"


class BadRequest(KvPaxosError):
    """The request makes no sense as it stands. It was not carried out; mend it first."""

    applied: ClassVar[Applied] = "no"


class TooLarge(BadRequest):
    """A key, a value or a whole request is over its limit. It was not carried out."""


class Forbidden(KvPaxosError):
    """The caller may not do this, or may not do it here. It was not carried out."""

    applied: ClassVar[Applied] = "no"


class ConditionFailed(KvPaxosError):
    """What the key holds did not allow the request. It was not carried out.

    :ivar key: the key.
    :ivar current: what the key held instead, if the node told, or None.
    """

    applied: ClassVar[Applied] = "no"

    def __init__(self, message: str, key: bytes, current: bytes | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.current = current


class KeyExists(ConditionFailed):
    """The key should not have been there."""


class KeyMissing(ConditionFailed):
    """The key should have been there."""


class ValueDiffers(ConditionFailed):
    """The key holds another value than was expected."""


class DumpBroken(KvPaxosError):
    """A dump ended before its last pair. What came of it is a beginning, and not the whole.

    :ivar after: the last key that came, or None if none did.
    """

    def __init__(self, message: str, after: bytes | None) -> None:
        super().__init__(message)
        self.after = after


class WrongThread(KvPaxosError):
    """A blocking call was made where it would wait for ever. Nothing was sent."""


class CommandError(KvPaxosError):
    """Bytes that should hold a command of the state machine do not."""


class WireError(KvPaxosError):
    """A peer sent bytes that are not a message of this protocol."""


class ConfigError(KvPaxosError):
    """The settings are wrong.

    The message is one sentence that names the file, the key and the mend.
    """


class StartError(KvPaxosError):
    """The node cannot start as things are; the message is one sentence that says what to do."""


class DiskError(KvPaxosError):
    """A disk refused to write or to sync. The node must stop, and never retry.

    The message is one sentence that names the path and the cause.
    """


class JournalDamaged(StartError):
    """The journal holds bytes that were once written whole and are whole no longer.

    :ivar path: the damaged file.
    :ivar offset: where the first bad record starts, in bytes from the file's start.
    """

    def __init__(self, path: str, offset: int, what: str) -> None:
        super().__init__(
            f"{path}: {what} at byte {offset} is damaged; this node will not vote on it."
            " A node that has other members has it mended, or comes back without it; one that has"
            " none needs a sound copy of this same disk, or a backup."
        )
        self.path = path
        self.offset = offset


class RunOver(KvPaxosError):
    """This run of a node has done what it was there for, and the next one is to begin."""


class StateDamaged(StartError):
    """The state on disk holds bytes that were once written whole and are whole no longer.

    It shows at the start or whenever the bytes are read; nothing may be answered from it.

    :ivar where: the directory, or the record, that is damaged.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where}: the state is damaged ({what}); this node will not answer from it."
            " A node that has other members gets theirs; one that has none needs a sound copy of"
            " this same disk, or a backup."
        )
        self.where = where


class StateClosed(Unavailable):
    """The state, or a view of it, is closed already: nothing was read or written."""


class BackupUnreadable(KvPaxosError):
    """A file is no backup, or one that another version of kvpaxos must read."""


class BackupDamaged(KvPaxosError):
    """A backup is not what was written: bytes of it were changed, or are missing.

    :ivar offset: where it stops being right, in bytes from its start.
    """

    def __init__(self, name: str, offset: int, what: str) -> None:
        super().__init__(
            f"{name}: the backup is damaged: {what} (at byte {offset}). Nothing of it can be relied"
            " on; use another one."
        )
        self.offset = offset
