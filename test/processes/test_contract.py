"""The contract of the HTTP interface, over whole nodes: one cluster a dialect, links on sockets.

The tables are those by which test/node/http holds the HTTP face alone. Here each row goes through a
node that leads and through one that follows, to a cluster that agrees and journals.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import Any
from urllib.parse import urlencode

import pytest

from kvpaxos.node.http.dialects import DIALECTS
from test.node.http import (
    test_contract,
    test_dialects,
    test_guard,
    test_identities,
    test_parameters,
    test_receipts,
    test_rules,
)
from test.node.http.harness import Reply, assert_members

# These need nothing but a node that answers, and so are tests of a real one too.
from test.node.http.test_contract import (  # noqa: F401
    test_a_method_in_small_letters_is_the_same_method,
)
from test.node.http.test_parameters import (  # noqa: F401
    test_a_body_wins_over_the_query,
    test_a_compressed_body_is_refused,
    test_a_file_in_a_multipart_body_is_a_value_byte_for_byte,
    test_a_form_is_read_whatever_its_content_type_says,
    test_a_key_need_not_be_utf_8,
    test_a_parameter_may_not_be_twice_in_the_query,
    test_a_part_of_a_multipart_body_may_have_no_body_of_its_own,
    test_a_path_that_takes_no_parameters_does_not_read_the_body,
    test_a_read_may_have_its_parameters_in_the_body_too,
    test_a_value_that_is_not_utf_8_comes_back_in_base64,
    test_base64_is_for_bytes_only,
    test_null_in_json_means_not_given,
    test_unknown_parameters_are_ignored,
)
from test.processes.cluster import START_S, Cluster, Node, free_ports
from test.processes.faces import Face

pytestmark = pytest.mark.timeout(180)

ROLES = ("leader", "follower")

FACES = (*(f"{dialect}-leader" for dialect in DIALECTS), "seed-follower")
"""What a follower does with a request has nothing to do with how it speaks."""
NODES = 3
TAKEN = [["taken", "old"]]

CUT_S = "0.2"
"""How long requests to a node without a quorum take, in seconds."""

numbers = count(1)
"""Makes identities that no other test has used: a cluster remembers them."""


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cluster]]:
    """Run three nodes for each dialect."""
    ports = iter(free_ports(2 * NODES * len(DIALECTS)))
    with ExitStack() as stack:
        made: dict[str, Cluster] = {}
        for dialect in DIALECTS:
            own = [next(ports) for _ in range(2 * NODES)]
            directory = tmp_path_factory.mktemp(dialect)
            made[dialect] = stack.enter_context(
                closing(Cluster(directory, NODES, "unix", dialect, own))
            )
            made[dialect].launch(*made[dialect].nodes, options=("--allow-partitions",))
        for cluster in made.values():
            for node in cluster.nodes:
                node.wait_for_line("ready")
        yield made
        for cluster in made.values():
            for node in cluster.nodes:
                assert not any("Traceback" in line for line in node.lines), node.lines


@pytest.fixture(scope="module")
def leaders(clusters: dict[str, Cluster]) -> dict[str, Node]:
    return {dialect: cluster.leader() for dialect, cluster in clusters.items()}


def face_of(
    dialect: str, role: str, clusters: dict[str, Cluster], leaders: dict[str, Node]
) -> Face:
    """Return a node of that role, in a cluster whose key ``taken`` holds ``old``."""
    cluster = clusters[dialect]
    leads = leaders[dialect]
    place = cluster.nodes.index(leads) + (role == "follower")
    face = Face(cluster.nodes[place % NODES], dialect, cluster)
    face.refill(TAKEN)
    return face


@pytest.fixture(params=FACES)
def face(
    request: pytest.FixtureRequest, clusters: dict[str, Cluster], leaders: dict[str, Node]
) -> Face:
    """Return each node of `face_of` in turn."""
    dialect, _, role = request.param.partition("-")
    return face_of(dialect, role, clusters, leaders)


@pytest.fixture(params=ROLES)
def node(
    request: pytest.FixtureRequest, clusters: dict[str, Cluster], leaders: dict[str, Node]
) -> Face:
    """Return each node of `face_of` in turn that speaks the default dialect."""
    return face_of("seed", request.param, clusters, leaders)


def told_by(face: Face) -> Mapping[str, dict[str, Any]]:
    """Return what this node tells of itself, in place of what the one in memory does."""
    leads = face.ask("GET", "/healthz").headers["x-kvpaxos-leader"]
    role = "leading" if leads == face.node.name else "following"
    limits = {"key_bytes_max": 4096, "value_bytes_max": 1024 * 1024, "timeout_s_max": 60.0}
    return {
        "/kvman/status": {"node": face.node.name, "role": role},
        "/kvman/limits": {**limits, "opid_max": 2**63 - 1},
    }


@contextmanager
def row(named: str) -> Iterator[None]:
    """Name the row of a table that does not hold."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"row: {named}")
        raise


def test_each_rule(node: Face) -> None:
    for case in test_contract.CASES:
        with row(case.rule):
            node.refill(TAKEN)
            reply = node.ask(case.method, case.target, case.body)

            assert (reply.status, reply.headers["content-type"]) == (
                case.status,
                "application/json",
            )
            assert_members(reply.json, told_by(node).get(case.target, case.reply))
            if case.reply.get("success") == "false":
                assert node.pairs() == TAKEN


SHUTDOWN = "/kvman/shutdown"


def test_each_dialect_says_exactly_this(face: Face) -> None:
    for case in test_dialects.CASES:
        if case.target == SHUTDOWN:
            continue
        with row(case.rule):
            face.refill(TAKEN)
            reply = face.ask(case.method, case.target)

            test_dialects.assert_says(reply, getattr(case, face.dialect))
            if isinstance(reply.json, dict) and reply.json.get("success") in {"false", False}:
                assert face.pairs() == TAKEN


def send(face: Face, endpoint: test_rules.Endpoint, given: Mapping[str, str]) -> Reply:
    return face.ask(endpoint.method, endpoint.path, urlencode(given).encode())


def name_anew(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return ``given`` with an identity that nobody has used, if it has any."""
    return {**given, "client": f"client {next(numbers)}"} if "opid" in given else given


def test_each_path_succeeds_with_all_its_parameters_wherever_they_stand(face: Face) -> None:
    for endpoint in test_rules.ENDPOINTS:
        with row(f"{endpoint.method} {endpoint.path}"):
            face.refill(TAKEN)
            assert send(face, endpoint, name_anew(endpoint.given)).status == 200
            face.refill(TAKEN)
            target = f"{endpoint.path}?{urlencode(name_anew(endpoint.given))}"
            assert face.ask(endpoint.method, target).status == 200


@pytest.mark.parametrize("rule", test_rules.RULES, ids=lambda rule: rule.what)
def test_each_rule_holds_at_each_path(rule: test_rules.Rule, face: Face) -> None:
    for endpoint in test_rules.ENDPOINTS:
        if rule.parameter in endpoint.given:
            reply = send(face, endpoint, rule.spoil(endpoint.given))
            assert_is_refusal(f"{endpoint.method} {endpoint.path}", reply, rule.status, face)
    assert face.pairs() == TAKEN


def assert_is_refusal(named: str, reply: Reply, status: int, face: Face) -> None:
    """Hold a reply to `test_rules.assert_is_refusal`."""
    with row(named):
        test_rules.assert_is_refusal(reply, status, face.dialect)


def test_each_malformed_body_is_refused(face: Face) -> None:
    for bad in test_parameters.MALFORMED:
        reply = face.ask("POST", "/kv/set", bad.body, bad.content_type)
        assert_is_refusal(bad.rule, reply, 400, face)
    for what, text in test_parameters.BAD_BASE64.items():
        reply = face.ask("POST", "/kv/set", b"key=taken&value_base64=" + text.encode())
        assert_is_refusal(what, reply, 400, face)
    assert face.pairs() == TAKEN


def test_any_text_comes_out_of_every_reply_as_it_went_in(face: Face) -> None:
    face.refill([])
    for named, text in test_parameters.TEXTS.items():
        with row(named):
            # It leaves nothing behind.
            test_parameters.assert_comes_out_as_it_went_in(text, face)


def test_what_a_reply_says_in_base64_can_be_sent_back_as_it_is(face: Face) -> None:
    face.refill([])
    sent = {"key_base64": b64encode(test_parameters.NO_TEXT), "value_base64": b"/w=="}
    assert face.ask("POST", "/kv/set", urlencode(sent).encode()).status == 200
    [pair] = face.pairs()
    assert (pair["key"], pair["value"]) == (None, None)
    expected = {"expect": None, "expect_base64": pair.pop("value_base64")}
    body = json.dumps({**pair, **expected, "value": "b"}).encode()

    reply = face.ask("POST", "/kv/cas", body, "application/json")
    assert reply.json == {"success": DIALECTS[face.dialect].yes}
    assert face.pairs()[0]["value"] == "b"


def test_a_dump_comes_whole_and_in_pages(face: Face) -> None:
    pairs = [[f"key {number}", "v" * 40_000] for number in range(9)]
    face.refill(pairs)

    assert face.pairs() == pairs
    page = face.ask("GET", "/kvman/dump?limit=4&after=key%202")
    assert page.json == pairs[3:7]


def test_any_other_method_is_405_with_those_that_are_allowed(face: Face) -> None:
    for path, allowed in test_contract.METHODS.items():
        target = f"{path}?key=taken&value=b"
        for method in set(test_contract.EVERY_METHOD) - allowed:
            reply = face.ask(method, target)

            with row(f"{method} {path}"):
                assert reply.status == 405
                assert {"GET", "POST"} & set(reply.headers["allow"].split(", "))
            if method != "HEAD":
                assert_is_refusal(f"{method} {path}", reply, 405, face)
        options = face.ask("OPTIONS", target)
        with row(f"OPTIONS {path}"):
            assert (options.status, options.body) == (204, b"")
            assert allowed <= set(options.headers["allow"].split(", "))
    assert face.pairs() == TAKEN


@pytest.mark.parametrize("path", ["/kv/get?key=taken", "/kvman/limits", "/healthz"])
def test_head_has_the_headers_of_get_and_no_body(path: str, face: Face) -> None:
    head = face.ask("HEAD", path)
    get = face.ask("GET", path)

    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "content-type", "x-kvpaxos-read"):
        assert head.headers[name] == get.headers[name]


def test_every_reply_has_a_receipt(face: Face) -> None:
    for case in test_receipts.CASES:
        if case.target == SHUTDOWN:
            continue
        face.refill(TAKEN)
        before = int(test_receipts.receipt(face.ask("GET", "/kv/get?key=taken"))[0])
        reply = face.ask(case.method, case.target)

        with row(case.rule):
            slot, leader, read = test_receipts.receipt(reply)
            refuses = face.dialect == "plain" and "refuses" in case.rule
            absent = face.dialect == "plain" and case.target.endswith("key=none")
            assert reply.status == (409 if refuses else 404 if absent else case.status)
            assert (read, leader in face.cluster.nodes_by_name()) == (case.read, True)
            # A node's own slots never run backwards; a write has one of its own.
            assert int(slot) >= before + (read == "logged")


def identities() -> list[str]:
    """Return an identity of each kind, as nobody has used it."""
    number = next(numbers)
    assert test_identities.NAMELY == ["opid=7", "client=c&opid=7", "requestid=r", "id=r"]
    return [f"opid={number}", f"client=c{number}&opid=7", f"requestid=r{number}", f"id=i{number}"]


@pytest.mark.parametrize("target", [target for target, _ in test_identities.WRITES])
def test_a_write_that_comes_again_to_any_node_is_answered_again_and_not_repeated(
    target: str, face: Face
) -> None:
    # How an identity is given is of one dialect as of another.
    for identity in identities()[0 if face.dialect == "seed" else 2 :]:
        face.refill(TAKEN)
        first = face.ask("POST", f"{target}&{identity}")
        held = face.pairs()
        again = face.other().ask("POST", f"{target}&{identity}")

        with row(identity):
            assert (first.status, first.json["success"]) == (200, DIALECTS[face.dialect].yes)
            assert (again.status, again.body) == (200, first.body)
            assert again.headers["x-kvpaxos-read"] == "logged"
            assert face.pairs() == held


def test_a_denial_that_comes_again_is_answered_again_though_it_would_succeed_now(
    face: Face,
) -> None:
    for identity in identities():
        face.refill(TAKEN)
        asked = f"/kv/cas?key=taken&expect=new&value=b&{identity}"
        first = face.ask("POST", asked)
        face.ask("POST", "/kv/set?key=taken&value=new")
        again = face.other().ask("POST", asked)

        assert first.json["success"] == DIALECTS[face.dialect].no
        assert (again.status, again.body) == (first.status, first.body)
        assert face.pairs() == [["taken", "new"]]


def test_a_read_with_an_identity_is_logged_and_answered_again(face: Face) -> None:
    for identity in identities():
        face.refill(TAKEN)
        get = face.ask("GET", f"/kv/get?key=taken&{identity}")
        face.ask("POST", "/kv/set?key=taken&value=new")
        again = face.other().ask("GET", f"/kv/get?key=taken&{identity}")

        assert (again.status, again.body) == (200, get.body)
        assert again.json["value"] == "old"
        assert [reply.headers["x-kvpaxos-read"] for reply in (get, again)] == ["logged", "logged"]


def test_an_identity_is_of_one_request_only(face: Face) -> None:
    for identity in identities():
        face.refill(TAKEN)
        assert face.ask("POST", f"/kv/append?key=taken&value=er&{identity}").status == 200
        for target in (
            f"/kv/append?key=taken&value=x&{identity}",
            f"/kv/delete?key=taken&{identity}",
        ):
            reply = face.other().ask("POST", target)
            assert_is_refusal(target, reply, 400, face)
        assert face.pairs() == [["taken", "older"]]


def test_a_smaller_opid_is_stale_and_not_carried_out(face: Face) -> None:
    client = f"client=stale{next(numbers)}"
    face.ask("POST", f"/kv/append?key=taken&value=er&{client}&opid=7")
    reply = face.other().ask("POST", f"/kv/append?key=taken&value=x&{client}&opid=6")

    status, said = test_identities.STALE[face.dialect]
    assert (reply.status, set(reply.json)) == (status, set(said))
    assert_members(reply.json, said)
    assert face.pairs() == [["taken", "older"]]


FOREIGN: list[dict[str, Any]] = [
    *({"Host": host} for host in test_guard.FOREIGN_HOSTS if host.isascii()),
    *({"Origin": origin} for origin in test_guard.FOREIGN_ORIGINS),
    {"Sec_Fetch_Site": "cross-site"},
]


@pytest.mark.parametrize(("method", "target"), test_guard.GUARDED)
def test_pages_of_other_sites_are_refused(method: str, target: str, face: Face) -> None:
    for headers in FOREIGN:
        reply = face.ask(method, target, **headers)
        assert_is_refusal(f"{headers}", reply, 403, face)
    states = {row["state"] for row in face.ask("GET", "/kvman/links").json["links"]}
    assert states == {"up"}


@pytest.mark.parametrize(("data", "status"), test_receipts.RAW.values(), ids=test_receipts.RAW)
def test_what_never_became_a_request_is_refused_in_the_dialect(
    data: bytes, status: int, face: Face
) -> None:
    conversation = face.connect()
    conversation.send(data)

    assert_is_refusal("raw", conversation.reply(), status, face)


# What follows disturbs the clusters, so it comes last.


@pytest.mark.parametrize("role", ROLES)
def test_a_node_without_a_quorum_says_so_in_time_and_others_go_on(
    role: str, clusters: dict[str, Cluster], leaders: dict[str, Node]
) -> None:
    faces = [face_of(dialect, role, clusters, leaders) for dialect in DIALECTS]
    for face in faces:
        assert face.ask("POST", "/kvman/links?state=cut").status == 200
    for face in faces:
        wait_until(face, led=False)
        assert_needs_a_quorum(face)
        stale = face.ask("GET", "/kv/get?key=taken&consistency=stale")
        assert (stale.json["value"], stale.headers["x-kvpaxos-read"]) == ("old", "stale")
        assert face.ask("GET", "/healthz").status == 200
        assert face.other().ask("POST", "/kv/append?key=taken&value=er").status == 200
    for face in faces:
        assert face.ask("POST", "/kvman/links?state=up").status == 200
    for face in faces:
        wait_until(face, led=True)
        # Not one of those that were refused was carried out.
        assert face.pairs() == [["taken", "older"]]
        leaders[face.dialect] = face.cluster.leader()


def wait_until(face: Face, *, led: bool) -> None:
    """Wait until the node knows of a leader, or of none: a request there waits for that."""
    asked = f"/kv/get?key=taken&timeout={CUT_S}"
    while bool(face.ask("GET", asked).headers["x-kvpaxos-leader"]) != led:
        pass
    if not led:
        # For a moment more it may send to one who still seemed to be there, after the leader.
        face.ask("GET", asked)


def assert_needs_a_quorum(face: Face) -> None:
    """Hold each path that needs a quorum to saying that there is none."""
    endpoints = test_rules.ANSWERED_BY_A_QUORUM
    asked = [{**endpoint.given, "timeout": CUT_S} for endpoint in endpoints]
    with ThreadPoolExecutor(len(endpoints)) as pool:
        replies = [*pool.map(send, [face] * len(endpoints), endpoints, asked)]
    for endpoint, reply in zip(endpoints, replies, strict=True):
        assert_is_refusal(f"{endpoint.method} {endpoint.path}", reply, 503, face)
        assert reply.headers["retry-after"] == "1"


def test_shutdown_answers_and_ends_the_process(
    clusters: dict[str, Cluster], leaders: dict[str, Node]
) -> None:
    [case] = [case for case in test_dialects.CASES if case.target == SHUTDOWN]
    for role, method in (("follower", "POST"), ("leader", "GET")):
        faces = [face_of(dialect, role, clusters, leaders) for dialect in DIALECTS]
        for face in faces:
            said = face.ask(method, SHUTDOWN)
            test_dialects.assert_says(said, getattr(case, face.dialect))
        for face in faces:
            process, face.node.process = face.node.process, None
            assert process is not None
            assert process.wait(timeout=START_S) == 0
            with pytest.raises(ConnectionRefusedError):
                face.connect()
