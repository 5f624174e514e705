"""The client against a fake cluster in which everything goes wrong that can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as NobodyThere
from twisted.python.failure import Failure

from kvpaxos.client import Answer, Client, Receipt
from kvpaxos.client.calls import NAMING_PAUSE_S
from kvpaxos.client.client import READS_MAX
from kvpaxos.client.retrying import HASTE_S_MIN
from kvpaxos.errors import (
    BadRequest,
    ConditionFailed,
    ConfigError,
    KeyExists,
    KeyMissing,
    KvPaxosError,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
    ValueDiffers,
)
from kvpaxos.testing import FakeCluster
from test.processes.cluster import ROOT

DIALECTS = ("seed", "plain", "handout")


def failure_of(cluster: FakeCluster, call: Deferred[Any]) -> KvPaxosError:
    """Return the error that ``call`` ends with."""
    with pytest.raises(KvPaxosError) as caught:
        cluster.result_of(call)
    return caught.value


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def client(cluster: FakeCluster) -> Client:
    return cluster.client()


# What the calls do.


@pytest.mark.parametrize("dialect", DIALECTS)
def test_writes_do_what_they_say_in_every_dialect(dialect: str) -> None:
    cluster = FakeCluster(dialect=dialect)
    client = cluster.client()
    old, new = (b"v", b"v3+") if dialect != "handout" else (None, None)
    assert cluster.result_of(client.insert("k", "v")).value is None
    assert cluster.result_of(client.update("k", "v2")).value == old
    assert cluster.result_of(client.cas("k", "v2", "v3")).value is None
    assert cluster.result_of(client.append("k", "+")).value == new
    assert cluster.pairs() == {b"k": b"v3+"}
    assert cluster.result_of(client.set("k", "v4")).value is None
    assert cluster.result_of(client.cas("l", None, "w")).value is None
    assert cluster.result_of(client.count()) == 2
    assert cluster.result_of(client.delete("k")).value == b"v4"
    assert cluster.pairs() == {b"l": b"w"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_key_forbids_is_an_error_in_every_dialect(dialect: str) -> None:
    cluster = FakeCluster(dialect=dialect)
    client = cluster.client()
    cluster.result_of(client.set("k", "v"))
    told = None if dialect == "handout" else b"v"
    cases: list[tuple[Deferred[Answer], type[ConditionFailed], bytes | None]] = [
        (client.insert("k", "w"), KeyExists, None),
        (client.update("none", "w"), KeyMissing, None),
        (client.delete("none"), KeyMissing, None),
        (client.cas("k", "x", "w"), ValueDiffers, told),
        (client.cas("k", None, "w"), KeyExists, told),
    ]
    for call, kind, current in cases:
        error = failure_of(cluster, call)
        assert type(error) is kind
        assert (error.applied, error.current) == ("no", current)
    missing = failure_of(cluster, client.cas("none", "x", "w"))
    # The handout's dialect does not tell the two apart.
    assert type(missing) is (ValueDiffers if dialect == "handout" else KeyMissing)
    assert cluster.pairs() == {b"k": b"v"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_get_brings_the_value_or_none(dialect: str) -> None:
    cluster = FakeCluster(dialect=dialect)
    client = cluster.client()
    cluster.result_of(client.set("k", ""))
    for stale in (False, True):
        answer = cluster.result_of(client.get("k", stale=stale))
        assert answer is not None
        assert (answer.value, answer.text) == (b"", "")
        assert cluster.result_of(client.get("none", stale=stale)) is None


def test_an_answer_has_a_receipt(cluster: FakeCluster, client: Client) -> None:
    written = cluster.result_of(client.set("k", "v"))
    assert written.receipt == Receipt("http://n01:8801", 1, "n01", "logged")
    read = cluster.result_of(client.get("k"))
    assert read is not None
    assert read.receipt == Receipt("http://n01:8801", 1, "n01", "quorum")


@pytest.mark.parametrize("raw", [b"\xff\x00\xfe", b"a b&c=d\n\x00%", "键🔑".encode()])
def test_keys_and_values_are_any_bytes(cluster: FakeCluster, client: Client, raw: bytes) -> None:
    cluster.result_of(client.insert(raw, raw))
    assert cluster.pairs() == {raw: raw}
    answer = cluster.result_of(client.get(raw))
    assert answer is not None
    assert answer.value == raw
    assert cluster.result_of(client.append(raw, raw)).value == raw + raw
    error = failure_of(cluster, client.cas(raw, raw, b"w"))
    assert isinstance(error, ValueDiffers)
    assert error.current == raw + raw
    cluster.result_of(client.cas(raw, raw + raw, b"w"))
    assert cluster.result_of(client.delete(raw)).value == b"w"


def test_what_makes_no_sense_is_refused_by_the_first_node(cluster: FakeCluster) -> None:
    client = cluster.client()
    empty = failure_of(cluster, client.set("", "v"))
    assert type(empty) is BadRequest
    assert str(empty).startswith("The key is empty; nothing was changed")
    assert type(failure_of(cluster, client.set("k" * 5000, "v"))) is TooLarge
    assert type(failure_of(cluster, client.get("k" * 5000))) is TooLarge
    assert type(failure_of(cluster, client.set("\ud800", "v"))) is BadRequest
    assert cluster.clock.seconds() == 0.0


def test_the_status_is_that_of_some_node(cluster: FakeCluster, client: Client) -> None:
    assert cluster.result_of(client.status())["node"] == "n01"
    cluster.stop("n01")
    assert cluster.result_of(client.status())["node"] == "n02"


# What goes wrong with nodes.


def test_a_call_goes_on_at_another_node_if_one_is_down(cluster: FakeCluster) -> None:
    client = cluster.client()
    for name in ("n01", "n02"):
        cluster.stop(name)
        if name == "n01":
            cluster.result_of(client.set("k", "v"))
            answer = cluster.result_of(client.get("k"))
            assert answer is not None
            assert answer.receipt.node == cluster.urls["n02"]
    cluster.start("n01")
    assert cluster.result_of(client.append("k", "+")).value == b"v+"


def test_a_call_says_which_nodes_it_asked_and_what_each_of_them_said(cluster: FakeCluster) -> None:
    client = cluster.client(timeout_s=2.0)
    cluster.stop("n01")
    cluster.cut_off("n02")
    error = failure_of(cluster, client.set("k", "v"))
    assert type(error) is Unavailable
    assert str(error) == (
        "No node could carry the request out (http://n01:8801: it refuses connections;"
        " http://n02:8801: It was not sent in time (no leader is known);"
        " http://n03:8801: It was not sent in time (no leader is known));"
        " nothing was changed, and it is safe to send the request again."
    )
    assert cluster.clock.seconds() == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("timeout_s", [0.1, 1.0, 20.0])
def test_a_call_ends_by_its_deadline_without_a_quorum(timeout_s: float) -> None:
    cluster = FakeCluster()
    client = cluster.client()
    cluster.cut_off("n01", "n02")
    calls: list[Deferred[Any]] = [
        client.get("k", timeout_s=timeout_s),
        client.set("k", "v", timeout_s=timeout_s),
        client.count(timeout_s=timeout_s),
    ]
    ended: list[float] = []
    for call in calls:
        call.addErrback(lambda failure: failure.trap(Unavailable))
        call.addCallback(lambda _: ended.append(cluster.clock.seconds()))
    cluster.clock.pump([timeout_s / 1000] * 1001)
    assert len(ended) == 3
    assert cluster.pairs() == {}


def test_a_call_without_time_asks_nobody(cluster: FakeCluster, client: Client) -> None:
    assert type(failure_of(cluster, client.get("k", timeout_s=0.0))) is Unavailable


def test_a_partition_that_heals_in_time_is_waited_for(cluster: FakeCluster) -> None:
    client = cluster.client()
    cluster.cut_off("n01", "n02")
    cluster.clock.callLater(3.0, cluster.heal)
    assert cluster.result_of(client.append("k", "v")).value == b"v"
    assert 3.0 <= cluster.clock.seconds() < 5.0


def test_a_stale_read_is_answered_by_a_node_that_is_cut_off(cluster: FakeCluster) -> None:
    client = cluster.client()
    cluster.result_of(client.set("k", "old"))
    cluster.cut_off("n01")
    cluster.result_of(client.set("k", "new"))
    stale, fresh = (cluster.result_of(client.get("k", stale=stale)) for stale in (True, False))
    assert stale is not None
    assert fresh is not None
    assert (stale.text, stale.receipt.read) in {("old", "stale"), ("new", "stale")}
    assert (fresh.text, fresh.receipt.read) == ("new", "quorum")


def test_writes_go_straight_to_the_leader_once_it_is_known(cluster: FakeCluster) -> None:
    cluster.stop("n01")
    client = cluster.client()
    cluster.result_of(client.set("k", "v"))
    cluster.start("n01")
    cluster.clock.advance(60.0)
    assert cluster.leader == "n02"
    assert cluster.result_of(client.set("k", "v")).receipt.node == cluster.urls["n02"]
    read = cluster.result_of(client.get("k"))
    assert read is not None
    assert read.receipt.node == cluster.urls["n01"]


def test_names_that_a_client_was_not_given_are_asked_for(cluster: FakeCluster) -> None:
    cluster.stop("n01")
    assert cluster.leader == "n02"
    cluster.start("n01")
    client = Client(list(cluster.urls.values()), reactor=cluster.clock, treq=cluster.treq)
    assert cluster.result_of(client.set("k", "v")).receipt.node == cluster.urls["n01"]
    cluster.clock.advance(0.0)
    assert cluster.result_of(client.set("k", "v")).receipt.node == cluster.urls["n02"]


class Mute:
    """What sends requests, but for questions for a name while the test does not want it."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.mute = True
        self.asked = 0
        self._request = cluster.treq.request

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        if not url.endswith("/kvman/status"):
            return self._request(method, url, **options)
        self.asked += 1
        if self.mute:
            return fail(NobodyThere())
        return self._request(method, url, **options)


def test_nodes_that_did_not_say_their_names_are_asked_again_but_not_at_once(
    cluster: FakeCluster,
) -> None:
    cluster.stop("n01")
    assert cluster.leader == "n02"
    cluster.start("n01")
    mute = Mute(cluster)
    client = Client(list(cluster.urls.values()), reactor=cluster.clock, treq=mute)
    for _ in range(5):
        cluster.result_of(client.set("k", "v"))
    assert mute.asked == 3
    mute.mute = False
    cluster.clock.advance(NAMING_PAUSE_S)
    cluster.result_of(client.set("k", "v"))
    cluster.clock.advance(0.0)
    assert mute.asked == 6
    assert cluster.result_of(client.set("k", "v")).receipt.node == cluster.urls["n02"]


# What goes wrong with writes.

WRITES: list[Callable[[Client], Deferred[Answer]]] = [
    lambda client: client.insert("new", "v"),
    lambda client: client.update("k", "w"),
    lambda client: client.delete("k"),
    lambda client: client.set("k", "w"),
    lambda client: client.cas("k", "v", "w"),
    lambda client: client.append("k", "+"),
]


def expected(write: Callable[[Client], Deferred[Answer]]) -> tuple[bytes | None, Any]:
    """Return what ``write`` brings and leaves behind if it is carried out once."""
    cluster = FakeCluster()
    client = cluster.client()
    cluster.result_of(client.set("k", "v"))
    return cluster.result_of(write(client)).value, cluster.pairs()


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("fault", ["lose_writes", "stall_writes"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_is_lost_is_sent_again_and_carried_out_once(
    write: Callable[[Client], Deferred[Answer]], fault: str, *, applied: bool
) -> None:
    cluster = FakeCluster()
    client = cluster.client()
    cluster.result_of(client.set("k", "v"))
    getattr(cluster, fault)(2, applied=applied)
    answer = cluster.result_of(write(client))
    assert (answer.value, cluster.pairs()) == expected(write)


def test_a_condition_that_failed_is_told_the_same_when_it_is_asked_for_again(
    cluster: FakeCluster, client: Client
) -> None:
    cluster.result_of(client.set("k", "v"))
    cluster.lose_writes(applied=True)
    error = failure_of(cluster, client.cas("k", "x", "w"))
    assert isinstance(error, ValueDiffers)
    assert error.current == b"v"


def test_a_refused_write_is_sent_again_also_without_an_identity(cluster: FakeCluster) -> None:
    for exactly_once in (True, False):
        client = cluster.client(exactly_once=exactly_once)
        cluster.refuse_writes(5)
        cluster.result_of(client.append("k", "v"))
    assert cluster.pairs() == {b"k": b"vv"}


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("fault", ["lose_writes", "stall_writes"])
def test_without_an_identity_a_write_in_doubt_is_never_sent_again(
    fault: str, *, applied: bool
) -> None:
    cluster = FakeCluster()
    client = cluster.client(exactly_once=False)
    getattr(cluster, fault)(1, applied=applied)
    error = failure_of(cluster, client.append("k", "v"))
    assert type(error) is OutcomeUnknown
    assert error.applied == "unknown"
    assert "read the key before you send it again" in str(error)
    assert cluster.pairs() == ({b"k": b"v"} if applied else {})


def test_a_write_that_was_lost_once_and_then_refused_may_have_been_carried_out(
    cluster: FakeCluster, client: Client
) -> None:
    cluster.lose_writes(applied=True)
    cluster.refuse_writes(1000)
    error = failure_of(cluster, client.set("k", "v"))
    assert type(error) is OutcomeUnknown
    assert cluster.pairs() == {b"k": b"v"}


def test_a_caller_who_waits_for_each_write_keeps_his_order_through_all_faults() -> None:
    cluster = FakeCluster()
    client = cluster.client()

    async def stream() -> None:
        for number in range(100):
            if number % 3 == 0:
                cluster.lose_writes(applied=number % 2 == 0)
            if number % 7 == 0:
                cluster.stall_writes(applied=number % 2 == 0)
            if number % 10 == 0:
                stopped = f"n0{1 + number // 10 % 3}"
                cluster.start(*cluster.urls)
                cluster.stop(stopped)
            await client.append("k", f"{number},")

    cluster.result_of(Deferred.fromCoroutine(stream()))
    assert cluster.pairs() == {b"k": "".join(f"{number}," for number in range(100)).encode()}


# Identities.


def test_a_request_id_names_one_request_for_every_client(cluster: FakeCluster) -> None:
    first, second = cluster.client(), cluster.client()
    assert cluster.result_of(first.append("k", "v", requestid="one")).value == b"v"
    assert cluster.result_of(second.append("k", "v", requestid="one")).value == b"v"
    reused = failure_of(cluster, second.append("k", "w", requestid="one"))
    assert type(reused) is BadRequest
    assert cluster.pairs() == {b"k": b"v"}


def test_two_clients_do_not_share_a_name(cluster: FakeCluster) -> None:
    for client in (cluster.client(), cluster.client()):
        cluster.result_of(client.append("k", "v"))
    assert cluster.pairs() == {b"k": b"vv"}


class Slow:
    """What sends requests, and counts those that are under way."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.running = 0
        self.most = 0

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        self.running += 1
        self.most = max(self.most, self.running)
        sent: Deferred[Any] = Deferred()
        self.cluster.clock.callLater(1.0, sent.callback, None)

        def done(outcome: Any) -> Any:
            self.running -= 1
            return outcome

        return sent.addCallback(
            lambda _: self.cluster.treq.request(method, url, **options)
        ).addBoth(done)


def test_writes_beyond_the_lanes_wait_and_none_is_lost(cluster: FakeCluster) -> None:
    slow = Slow(cluster)
    client = Client(cluster.urls, lanes_max=3, reactor=cluster.clock, treq=slow, timeout_s=60.0)
    writes = [client.append("k", ".") for _ in range(10)]
    for write in writes:
        cluster.result_of(write)
    assert slow.most == 3
    assert cluster.pairs() == {b"k": b"." * 10}


def test_a_write_that_finds_no_lane_in_time_was_not_carried_out(cluster: FakeCluster) -> None:
    client = Client(cluster.urls, lanes_max=1, reactor=cluster.clock, treq=Slow(cluster))
    first, second = client.set("k", "v"), client.set("l", "v", timeout_s=0.5)
    error = failure_of(cluster, second)
    assert type(error) is Unavailable
    assert str(error).startswith(
        "This client has too much under way, and none of it ended in time;"
    )
    cluster.result_of(first)
    cluster.result_of(client.set("m", "v"))
    assert cluster.pairs() == {b"k": b"v", b"m": b"v"}


def test_reads_beyond_the_limit_wait(cluster: FakeCluster) -> None:
    slow = Slow(cluster)
    client = Client(cluster.urls, reactor=cluster.clock, treq=slow)
    reads: list[Deferred[Any]] = [client.count() for _ in range(READS_MAX)]
    assert canceled(client.count())
    assert type(failure_of(cluster, client.get("k", timeout_s=0.5))) is Unavailable
    assert slow.most == READS_MAX
    assert [cluster.result_of(read) for read in reads] == [0] * READS_MAX
    assert cluster.result_of(client.count()) == 0


class Counting:
    """What sends requests, and says to which nodes, and with which identities."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.asked: list[str] = []
        self.identities: set[tuple[object, object]] = set()

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        self.asked.append(url.partition("//")[2].partition(":")[0])
        sent = json.loads(options.get("data", "{}"))
        self.identities.add((sent.get("client"), sent.get("opid")))
        return self.cluster.treq.request(method, url, **options)


CALLS: list[Callable[[Client], Deferred[Any]]] = [
    lambda client: client.get("k"),
    lambda client: client.count(),
    lambda client: client.append("k", "."),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_first_node_that_is_cut_off_costs_a_call_half_a_second_and_later_ones_nothing(
    cluster: FakeCluster, call: Callable[[Client], Deferred[Any]]
) -> None:
    counting = Counting(cluster)
    client = Client(cluster.urls, reactor=cluster.clock, treq=counting)
    cluster.cut_off("n01")
    cluster.result_of(call(client))
    assert counting.asked == ["n01", "n02"]
    assert cluster.clock.seconds() <= HASTE_S_MIN
    assert len(counting.identities) == 1, "sent again as another request"
    spent_s = cluster.clock.seconds()
    for _ in range(3):
        cluster.result_of(call(client))
    assert counting.asked[2:] == ["n02"] * 3
    assert cluster.clock.seconds() == spent_s


def test_a_write_that_the_cut_off_leader_may_carry_out_is_carried_out_once(
    cluster: FakeCluster,
) -> None:
    counting = Counting(cluster)
    client = Client(cluster.urls, reactor=cluster.clock, treq=counting)
    cluster.stall_writes(applied=True)
    cluster.result_of(client.append("k", "."))
    assert counting.asked == ["n01", "n02"]
    assert cluster.pairs() == {b"k": b"."}


# Cancellation and closing.


def canceled(call: Deferred[Any]) -> bool:
    failures: list[Failure] = []
    call.addErrback(failures.append)
    call.cancel()
    return bool(failures) and failures[0].check(CancelledError) is not None


def test_a_canceled_call_ends_at_once_and_asks_nobody_any_more(cluster: FakeCluster) -> None:
    client = cluster.client(lanes_max=1)
    cluster.cut_off("n01", "n02", "n03")
    for wait_s in (0.0, 1.0, 4.0):
        calls: list[Deferred[Any]] = [client.set("k", "v"), client.get("k"), client.count()]
        waiting = client.set("l", "v")
        cluster.clock.advance(wait_s)
        assert canceled(waiting)
        assert all(canceled(call) for call in calls)
    cluster.heal()
    cluster.clock.advance(60.0)
    assert cluster.pairs() == {}
    cluster.result_of(client.set("m", "v"))


def test_a_canceled_pause_between_attempts_is_the_end_of_the_call(cluster: FakeCluster) -> None:
    client = cluster.client()
    cluster.stop("n01", "n02", "n03")
    call = client.get("k")
    cluster.clock.advance(0.01)
    assert canceled(call)
    assert cluster.clock.getDelayedCalls() == []


def test_a_closed_client_takes_no_calls(cluster: FakeCluster) -> None:
    client = cluster.client()
    cluster.result_of(client.close())
    cluster.result_of(client.close())
    error = failure_of(cluster, client.set("k", "v"))
    assert type(error) is Unavailable
    assert str(error) == "This client is closed, so nothing was changed; make another one."
    with pytest.raises(Unavailable):
        client.dump()
    assert cluster.pairs() == {}


def test_closing_waits_for_the_calls_under_way(cluster: FakeCluster) -> None:
    client = Client(cluster.urls, reactor=cluster.clock, treq=Slow(cluster))
    write = client.set("k", "v")
    closing, again = client.close(), client.close()
    cluster.clock.advance(0.5)
    assert not closing.called
    cluster.result_of(closing)
    cluster.result_of(again)
    assert cluster.result_of(write).value is None
    assert cluster.pairs() == {b"k": b"v"}


def test_a_client_closes_itself_at_the_end_of_a_block(cluster: FakeCluster) -> None:
    async def block() -> Client:
        async with cluster.client() as client:
            await client.set("k", "v")
        return client

    client = cluster.result_of(block())
    assert type(failure_of(cluster, client.get("k"))) is Unavailable


def test_a_client_leaves_nothing_behind_in_the_reactor(cluster: FakeCluster) -> None:
    client = Client(list(cluster.urls.values()), reactor=cluster.clock, treq=cluster.treq)
    cluster.lose_writes(applied=True)
    cluster.result_of(client.set("k", "v"))
    cluster.result_of(client.close())
    cluster.clock.advance(0.0)
    assert cluster.clock.getDelayedCalls() == []


def test_a_client_that_is_closed_asks_no_node_for_its_name_any_more(cluster: FakeCluster) -> None:
    slow = Slow(cluster)
    client = Client(list(cluster.urls.values()), reactor=cluster.clock, treq=slow)
    cluster.result_of(client.set("k", "v"))
    assert slow.running == 1
    cluster.result_of(client.close())
    assert slow.running == 0


def test_to_import_the_client_installs_no_reactor() -> None:
    script = "import sys, kvpaxos.client; print('twisted.internet.reactor' in sys.modules)"
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


# Addresses, and answers without an end.


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ([], "A client needs the address of at least one node."),
        ({}, "A client needs the address of at least one node."),
        ("http://a:1", 'Nodes are a list of addresses: write ["http://a:1"].'),
        (["ftp://a"], '"ftp://a" is no address of a node: write it as http://127.0.0.1:8801.'),
        (["http://"], '"http://" is no address of a node: write it as http://127.0.0.1:8801.'),
        (["a:x"], '"a:x" is no address of a node: write it as http://127.0.0.1:8801.'),
        ({"n01": ""}, '"" is no address of a node: write it as http://127.0.0.1:8801.'),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_with_a_sentence(
    cluster: FakeCluster, nodes: Any, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(nodes, reactor=cluster.clock, treq=cluster.treq)
    assert str(caught.value) == sentence


def test_an_address_may_lack_its_scheme_and_have_a_slash_at_its_end(cluster: FakeCluster) -> None:
    client = Client(["n01:8801/", "http://n01:8801"], reactor=cluster.clock, treq=cluster.treq)
    assert cluster.result_of(client.set("k", "v")).receipt.node == "http://n01:8801"


def test_an_answer_that_is_too_long_is_not_read_to_its_end(cluster: FakeCluster) -> None:
    client = Client(
        cluster.urls, reactor=cluster.clock, treq=cluster.treq, answer_bytes_max=100_000
    )
    cluster.result_of(client.set("k", "v" * 200_000))
    read = failure_of(cluster, client.get("k"))
    assert type(read) is Unavailable
    assert "its answer has more than 100000 bytes" in str(read)
    assert type(failure_of(cluster, client.append("k", "+"))) is OutcomeUnknown
    assert cluster.clock.seconds() == 0.0
