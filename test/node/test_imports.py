"""What a node loads before it answers: each module costs every start."""

from __future__ import annotations

import json
import subprocess
import sys

from test.processes.cluster import ROOT

LOOK = """
import json, sys
import twisted.scripts.twistd, kvpaxos.node.service
print(json.dumps(sorted(sys.modules)))
"""

NEEDLESS = (
    "click",
    "kvpaxos.cli",
    "kvpaxos.client",
    "kvpaxos.testing",
    "multiprocessing",
    "rich",
    "sqlite3",
    "treq",
    "twisted.conch",
    "twisted.trial",
    "twisted.web.client",
    "twisted.words",
    "unittest",
)


def test_a_node_loads_nothing_that_only_clients_commands_and_tests_need() -> None:
    looked = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-c", LOOK], cwd=ROOT, check=True, capture_output=True, text=True
    )
    modules = json.loads(looked.stdout)

    assert "kvpaxos.node.node" in modules
    needless = tuple(f"{name}." for name in NEEDLESS)
    assert [module for module in modules if f"{module}.".startswith(needless)] == []
