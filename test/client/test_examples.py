"""The examples of docs/client.md do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from test.processes.cluster import ROOT, Cluster, cluster

EXAMPLES = ROOT / "docs" / "examples"

PATIENCE_S = 90.0
"""No example takes so long on the slowest machine."""

TOUR = """\
insert: logged
insert again: The key exists, so nothing was changed; update and set replace it. (applied: no)
update, from: blue
append, to: green and white
get: green and white (read: quorum)
get of nothing: None
delete, of: b'\\xff\\x00'
five increments: 5
ordered twice, with one request id: book,
are there more than those keys? True
dump: tour/many/000 v
dump: tour/many/001 v
dump: tour/many/002 v
in pages: 100 keys from tour/many/000 on
"""
"""What the tour prints, but for what depends on who leads and how fast the nodes are."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("examples")) as made:
        made.start()
        yield made


def run(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def urls(three: Cluster) -> list[str]:
    return [f"http://127.0.0.1:{node.port}" for node in three.nodes]


def test_the_tour_does_everything_and_can_be_taken_again(three: Cluster) -> None:
    for _ in range(2):
        done = run(str(EXAMPLES / "client_tour.py"), *urls(three))
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines(keepends=True)
        loose = [line for line in lines if line.startswith(("stale get: ", "some node is "))]
        assert len(loose) == 2
        assert "".join(line for line in lines if line not in loose) == TOUR
    assert three.nodes[0].ask("GET", "/kvman/countkey").body == {"result": 0}


def test_the_script_adds_to_what_earlier_runs_have_counted(three: Cluster) -> None:
    for times in ("2", "4"):
        done = run(str(EXAMPLES / "client_script.py"), *urls(three), given="to be or not to be")
        assert (done.returncode, done.stderr) == (0, "")
        words = dict(line.split() for line in done.stdout.splitlines())
        assert (words["to"], words["be"]) == (times, times)


@pytest.mark.parametrize("name", ["client_tour.py", "client_script.py"])
def test_without_a_cluster_an_example_ends_with_one_sentence(name: str) -> None:
    done = run(str(EXAMPLES / name), "http://127.0.0.1:1", given="word")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("No node could carry the request out (http://127.0.0.1:1: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_test_of_the_docs_passes() -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "client_testing.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_docs_show_the_test_as_it_is() -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    example = (EXAMPLES / "client_testing.py").read_text(encoding="utf-8")
    _, _, shown = example.partition("from __future__ import annotations\n\n")
    assert f"```python\n{shown}```" in page
