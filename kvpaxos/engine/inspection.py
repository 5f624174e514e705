"""Reads a RocksDB state without touching it: nothing is locked, mended, written or removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rocksdict import AccessType, Options, Rdict
from typing_extensions import override

from kvpaxos.engine.rocks import COLUMN_FAMILY, RocksEngine, start_error
from kvpaxos.errors import StartError, StateDamaged

_CURRENT: Final = "CURRENT"
_OWN: Final = ("LOCK", "LOG")
"""What an opened database has of its own. Names that go on behind it count too."""

_REWRITTEN: Final = "rocksdict-config.json"
"""rocksdict writes it anew even where it may only read."""


class RocksInspection(RocksEngine):
    """The state in ``directory`` as it is on the disk, to be read only.

    No node may be using it: files would vanish while they are read.

    :raises StartError: there is none, or it cannot be read.
    :raises StateDamaged: the files in it are not those that were written.
    """

    def __init__(self, directory: Path) -> None:
        # A place that looks the same, for what an open database leaves behind.
        self._beside = TemporaryDirectory(prefix="kvpaxos-inspection-")
        try:
            super().__init__(directory)
        except BaseException:
            self._beside.cleanup()
            raise

    @override
    def close(self) -> None:
        super().close()
        self._beside.cleanup()

    @override
    def _open(self, options: Options) -> Rdict:
        beside = Path(self._beside.name)
        try:
            files = list(self._directory.absolute().iterdir())
            for file in files:
                if file.name == _REWRITTEN:
                    shutil.copyfile(file, beside / file.name)
                elif not file.name.startswith(_OWN):
                    (beside / file.name).symlink_to(file)
        except OSError as error:
            raise StartError(
                f"{self._directory} cannot be read: {error.strerror}; let this user read it, or"
                " name another one."
            ) from error
        if _CURRENT not in {file.name for file in files}:
            raise StateDamaged(str(self._directory), f"its file {_CURRENT} is missing")
        options.create_if_missing(create_if_missing=False)
        try:
            return Rdict(
                self._beside.name,
                options,
                column_families={COLUMN_FAMILY: options},
                access_type=AccessType.read_only(),
            )
        except Exception as error:
            raise start_error(self._directory, self._sentence(error)) from error

    @override
    def _sentence(self, error: Exception) -> str:
        # Nobody will find that other place any more.
        return super()._sentence(error).replace(self._beside.name, str(self._directory))
