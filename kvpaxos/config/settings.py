"""Settings text to a cluster, and back."""

from __future__ import annotations

import json

from kvpaxos.config.cluster import ClusterConfig
from kvpaxos.config.document import table
from kvpaxos.config.flat import read_flat
from kvpaxos.config.full import read_full, write_full
from kvpaxos.config.section import Section


def parse(source: str, data: bytes) -> ClusterConfig:
    """Return the cluster that the settings ``data`` describe, in whichever shape they are.

    :param source: how to call the settings in errors, such as the path of their file.
    :raises ConfigError: one sentence that names the file, the key and the mend.
    """
    settings = Section(source, "", table(source, data))
    return read_full(settings) if "nodes" in settings else read_flat(settings)


def render(cluster: ClusterConfig) -> str:
    """Return settings text in the full form that `parse` reads back as ``cluster``."""
    return json.dumps(write_full(cluster), indent=2, ensure_ascii=False) + "\n"
