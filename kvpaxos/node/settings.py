"""Settings, from a file. Whoever only wants to know where nodes are needs no more of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kvpaxos.config.cluster import ClusterConfig, default_cluster
from kvpaxos.config.document import SETTINGS_BYTES_MAX
from kvpaxos.config.settings import parse
from kvpaxos.errors import ConfigError

SETTINGS_FILE: Final = "conf/settings.conf"
"""Read if it exists and no other settings are named."""


def read_settings(path: str | None) -> ClusterConfig:
    """Return the cluster that the file at ``path`` describes.

    Without a path it is that of `SETTINGS_FILE`, or the built-in one if there is no such file.

    :raises ConfigError: if the file cannot be read, or holds no sound settings.
    """
    if path is None:
        if not Path(SETTINGS_FILE).exists():
            return default_cluster()
        path = SETTINGS_FILE
    try:
        with Path(path).open("rb") as file:
            # One byte more than may be there: enough to see that there is too much.
            data = file.read(SETTINGS_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; name a settings file that can be read."
        ) from None
    return parse(path, data)
