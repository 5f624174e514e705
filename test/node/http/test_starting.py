"""What a node that starts does not wait for."""

from __future__ import annotations

import subprocess
import sys


def test_the_description_for_programs_is_made_only_when_it_is_asked_for() -> None:
    program = """
import sys
import kvpaxos.node.service
assert "kvpaxos.node.http.routes" in sys.modules
slow = {f"kvpaxos.node.http.{name}" for name in ("openapi", "catalog", "shapes")}
assert not slow & set(sys.modules), slow & set(sys.modules)
"""
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
