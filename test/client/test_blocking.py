"""The blocking client: the same calls, from any thread but one."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from kvpaxos.client import BlockingClient, Client
from kvpaxos.client.blocking import Blocking
from kvpaxos.errors import DumpBroken, KeyExists, Unavailable
from kvpaxos.testing import FakeCluster
from test.processes.cluster import ROOT, Cluster, cluster

SCRIPT_S_MAX = 60.0
"""No script takes so long on the slowest machine."""

METHODS = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("name", METHODS)
def test_every_call_is_there_with_the_same_parameters(name: str) -> None:
    def parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
        return list(inspect.signature(method).parameters.values())

    assert parameters(getattr(Blocking, name)) == parameters(getattr(Client, name))


def test_a_blocking_client_takes_what_a_client_takes_but_for_seams() -> None:
    ours = list(inspect.signature(BlockingClient).parameters.values())
    theirs = list(inspect.signature(Client).parameters.values())
    seams = {"reactor", "treq", "random"}
    assert ours == [parameter for parameter in theirs if parameter.name not in seams]


def test_every_call_waits_for_its_answer() -> None:
    fake = FakeCluster()
    with fake.blocking_client() as client:
        client.insert("k", "v")
        assert client.update("k", "w").text == "v"
        client.cas("k", "w", "x")
        assert client.append("k", "+").text == "x+"
        client.set("l", "y")
        assert client.count() == 2
        assert list(client.dump()) == [(b"k", b"x+"), (b"l", b"y")]
        assert list(client.dump(after="k", page=1)) == [(b"l", b"y")]
        assert client.delete("l").text == "y"
        assert client.get("l") is None
        assert client.status()["node"] == "n01"
        with pytest.raises(KeyExists):
            client.insert("k", "v")
    with pytest.raises(Unavailable):
        client.get("k")


def test_a_dump_begins_with_the_first_pair_and_is_let_go_of_early() -> None:
    fake = FakeCluster()
    fake.fill({f"{number:04}": "v" * 1000 for number in range(300)})
    client = fake.blocking_client()
    for _ in range(10):
        with closing(client.dump()) as pairs:  # type: ignore[type-var]
            assert next(pairs) == (b"0000", b"v" * 1000)
    fake.clock.advance(0.0)
    assert fake.clock.getDelayedCalls() == []
    pairs = client.dump()
    next(pairs)
    fake.stop("n01")
    with pytest.raises(DumpBroken):
        list(pairs)


# Scripts, with real nodes and a reactor that the client runs.


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("blocking")) as made:
        made.start()
        yield made


def run(script: str, *arguments: str) -> list[str]:
    """Run ``script``, which must end by itself without complaint, and return what it printed."""
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SCRIPT_S_MAX,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def urls(three: Cluster) -> list[str]:
    return [f"http://127.0.0.1:{node.port}" for node in three.nodes]


def test_a_script_may_use_it_from_many_threads_and_need_not_close_it(three: Cluster) -> None:
    script = """
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from kvpaxos.client import BlockingClient

        client = BlockingClient(sys.argv[1:])
        client.set("threads", "")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.append("threads", "."), range(100)))
        print(len(client.get("threads").value))
        """
    assert run(script, *urls(three)) == ["100"]


def test_a_script_may_have_several_one_after_another(three: Cluster) -> None:
    script = """
        import sys
        from kvpaxos.client import BlockingClient

        for number in range(3):
            with BlockingClient(sys.argv[1:]) as client:
                client.set("several", str(number))
        with BlockingClient(sys.argv[1:]) as client:
            print(client.get("several").text)
        """
    assert run(script, *urls(three)) == ["2"]


def test_a_program_that_runs_the_reactor_may_use_it_on_its_other_threads(three: Cluster) -> None:
    script = """
        import sys
        from twisted.internet.task import react
        from twisted.internet.threads import deferToThread
        from kvpaxos.client import BlockingClient

        def work():
            with BlockingClient(sys.argv[1:]) as client:
                client.set("other", "v")
                print(client.get("other").text)

        react(lambda reactor: deferToThread(work))
        """
    assert run(script, *urls(three)) == ["v"]


def test_on_the_thread_of_the_reactor_it_says_what_to_use_there(three: Cluster) -> None:
    script = """
        import sys
        from twisted.internet import reactor
        from kvpaxos.client import BlockingClient
        from kvpaxos.errors import WrongThread

        def wrong():
            try:
                BlockingClient(sys.argv[1:])
            except WrongThread as error:
                print(error)
            reactor.stop()

        reactor.callWhenRunning(wrong)
        reactor.run()
        try:
            BlockingClient(sys.argv[1:])
        except WrongThread as error:
            print(error)
        """
    running, stopped = run(script, *urls(three))
    assert running == (
        "A blocking client cannot be used on the thread of the reactor, which would wait for"
        " itself; use kvpaxos.client.Client there."
    )
    assert stopped == (
        "The reactor of this process has stopped for good, and a client needs it: close clients"
        " before you stop it."
    )


def test_an_error_is_a_sentence_about_all_nodes_and_no_traceback() -> None:
    script = """
        import sys
        from kvpaxos.client import BlockingClient
        from kvpaxos.errors import Unavailable

        try:
            BlockingClient(sys.argv[1:], timeout_s=0.5).get("k")
        except Unavailable as error:
            print(error)
        """
    (line,) = run(script, "http://127.0.0.1:1")
    assert re.fullmatch(
        r"No node could carry the request out \(http://127.0.0.1:1: .+\);"
        r" nothing was changed, and it is safe to send the request again\.",
        line,
    )
