"""The description of the face for programs: it is sound, whole, and what the face does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from typing_extensions import override

from kvpaxos.errors import DiskError, OutcomeUnknown, Unavailable
from kvpaxos.node.http import routes
from kvpaxos.node.http.bodies import Given
from kvpaxos.node.http.catalog import CLIENT, ID, OPERATIONS, OPID, REQUESTID, Operation
from kvpaxos.node.http.dialects import DIALECTS
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.openapi import describe
from kvpaxos.node.http.parameters import Parameters
from test.node.http.harness import Node
from test.processes.cluster import cluster

RENDERED = Path(__file__).parents[3] / "docs" / "openapi.json"

DEFAULT = describe(DIALECTS["seed"], HttpLimits())

SMALL = HttpLimits(key_bytes_max=40, value_bytes_max=60, body_bytes_max=4000, head_bytes_max=4000)
"""So that what is too large is quickly made."""


def document(dialect: str, limits: HttpLimits = SMALL) -> dict[str, Any]:
    """Return the description as a client reads it."""
    read: dict[str, Any] = json.loads(json.dumps(describe(DIALECTS[dialect], limits)))
    return read


def label(operation: Operation) -> str:
    return f"{operation.methods[0]} {operation.path}"


# What is written in it.


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_description_is_valid_openapi(dialect: str) -> None:
    schemathesis.openapi.from_dict(document(dialect)).validate()


def test_every_route_is_described_and_nothing_else() -> None:
    routed = {
        (rule.rule, method)
        for rule in routes.Routes.router.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = [
        (operation.path, method) for operation in OPERATIONS for method in operation.methods
    ]
    assert sorted(described) == sorted(routed)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_node_serves_the_description_of_itself(dialect: str) -> None:
    reply = Node(dialect=dialect, limits=SMALL).ask("GET", "/openapi.json")

    assert (reply.status, reply.json) == (200, document(dialect))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_example_of_a_reply_is_one_that_its_schema_admits(dialect: str) -> None:
    described = document(dialect)
    checked = 0
    for name, response in described["components"]["responses"].items():
        (content,) = response["content"].values()
        admits = jsonschema_rs.validator_for({**content["schema"], "components": {}}).is_valid
        for example in content.get("examples", {}).values():
            assert admits(example["value"]), name
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_example_of_a_body_is_carried_out(dialect: str) -> None:
    described = document(dialect)
    for operation in OPERATIONS:
        if "POST" in operation.methods and operation.asks:
            body = described["components"]["requestBodies"][operation.gives]
            example = json.dumps(body["content"]["application/json"]["example"]).encode()
            node = Node(dialect=dialect)
            assert node.ask("POST", operation.path, example, "application/json").status < 500
            assert node.store.writes or node.store.switched


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_opid_that_is_stale_is_answered_as_is_described(dialect: str) -> None:
    responses = document(dialect)["components"]["responses"]
    node = Node(dialect=dialect)
    for opid, status in [(7, 200), (7, 200), (3, DIALECTS[dialect].statuses["stale"])]:
        reply = node.ask("POST", "/kv/append", b"key=a&value=b&opid=%d" % opid)
        assert reply.status == status
        content = responses[f"append_{status}"]["content"]["application/json"]
        jsonschema_rs.validate(content["schema"], reply.json)


class Overheard(dict[str, Given]):
    """Parameters that notes which of them are looked at."""

    names: set[str]

    @override
    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


IDENTITY = {CLIENT.name, OPID.name, REQUESTID.name, ID.name}

REFUSED = {"/kvman/dump": IDENTITY}
"""What is looked at only to say that it must not be given."""


@pytest.mark.parametrize("operation", OPERATIONS, ids=label)
def test_every_parameter_that_is_looked_at_is_described_and_no_other(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()

    class Overhearing(Parameters):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._given = Overheard(self._given)
            self._given.names = names

    monkeypatch.setattr(routes, "Parameters", Overhearing)
    asked = operation.required or operation.any_of
    body = json.dumps({parameter.name: parameter.example for parameter in asked}).encode()
    client = Node().connect()
    client.begin(operation.methods[0], operation.path, body, "application/json")
    client.node.turn(3)
    assert client.reply().status == 200
    described = {parameter.name for parameter in operation.asks}
    assert names - REFUSED.get(operation.path, set()) == described


def test_the_rendering_in_the_docs_is_that_of_the_default_settings(
    request: pytest.FixtureRequest,
) -> None:
    text = rendered(DEFAULT) + "\n"
    if request.config.getoption("--rewrite"):
        RENDERED.write_text(text, encoding="utf-8")
    assert RENDERED.read_text(encoding="utf-8") == text, "run pytest --rewrite and read the diff"


def rendered(value: Any, indent: str = "") -> str:
    """Return JSON in which what fits into a line stands in one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent + flat) <= 100 or not isinstance(value, dict | list):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {rendered(part, inner)}" for name, part in value.items()]
    else:
        parts = [rendered(part, inner) for part in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}{closing}"


# What a cluster says.


def closed(schema: Any) -> Any:
    """Return a schema that admits no member which it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {name: closed(part) for name, part in schema.items()}
    if "properties" in tight and "anyOf" not in tight:
        tight.setdefault("additionalProperties", False)
    return tight


WRITES = [
    ("/kv/set", {"key": "a", "value": "1"}),
    ("/kv/cas", {"key": "a", "expect": "1", "value": "2", "client": "alice", "opid": "7"}),
    ("/kv/append", {"key_base64": "//4=", "value": "3", "requestid": "r"}),
]
READS = {
    "status": "/kvman/status",
    "limits": "/kvman/limits",
    "links": "/kvman/links",
    "journal": "/kvman/journal",
    "dump": "/kvman/dump",
    "agreed": "/readyz",
}


def test_a_real_node_says_what_is_described_and_nothing_else(tmp_path: Path) -> None:
    responses = document("seed")["components"]["responses"]
    with cluster(tmp_path, nodes=2) as two:
        two.start(options=("--allow-partitions",))
        for path, parameters in WRITES:
            assert two.nodes[0].send("POST", path, parameters).done
        for name, path in READS.items():
            schema = responses[f"{name}_200"]["content"]["application/json"]["schema"]
            jsonschema_rs.validate(closed(schema), two.nodes[0].ask("GET", path).body)


# What the face does.


class Gateway:
    """The face of a node in memory, for clients that speak WSGI.

    :ivar seen: what was asked of it, and with which status that ended.
    """

    def __init__(self, node: Node) -> None:
        self.seen: set[tuple[str, str, int]] = set()
        self._node = node

    def __call__(
        self, asked: Mapping[str, Any], start: Callable[[str, list[tuple[str, str]]], object]
    ) -> Iterable[bytes]:
        method = asked["REQUEST_METHOD"]
        headers = {
            name.removeprefix("HTTP_"): value
            for name, value in asked.items()
            if name.startswith("HTTP_") and name not in {"HTTP_HOST", "HTTP_CONTENT_LENGTH"}
        }
        client = self._node.connect()
        client.begin(
            method,
            f"{asked['REQUEST_URI']}?{asked['QUERY_STRING']}",
            asked["wsgi.input"].read(),
            asked.get("CONTENT_TYPE"),
            **headers,
        )
        self._settle()
        reply = client.reply(to=method)
        assert reply.whole
        client.wire.hang_up()
        self._settle()
        self.seen.add((method, asked["PATH_INFO"], reply.status))
        start(
            f"{reply.status} -",
            [item for item in reply.headers.items() if item[0] != "transfer-encoding"],
        )
        return [reply.body]

    def _settle(self) -> None:
        """Let everything happen that needs no time."""
        clock = self._node.clock
        while any(call.getTime() <= clock.seconds() for call in clock.calls):
            self._node.turn()


CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "unsupported_method",
    "allow_header_conformance",
]
ALTERNATIVES = ("GET /kv/get", "GET /kvman/countkey", "GET /kvman/dump", "DELETE /kv/delete")
"""Queries in which some parameters exclude others, for which OpenAPI has no words.

In a body, only an identity that another request has had can make wrong what its schema admits.
"""


def with_simple_queries(described: dict[str, Any]) -> dict[str, Any]:
    """Return a description of queries in which no parameter excludes another.

    Else most of what is asked would be wrong already because of that.
    """
    alternatives = {*IDENTITY, "key_base64", "after_base64"}
    for methods in described["paths"].values():
        for operation in methods.values():
            operation["parameters"] = [
                asked
                for asked in operation.get("parameters", [])
                if asked["$ref"].rpartition("/")[2] not in alternatives
            ]
    described["components"]["parameters"]["key"]["required"] = True
    return described


def complaints(
    gateway: Gateway,
    described: dict[str, Any],
    phase: str,
    *,
    max_examples: int = 1,
    leave: str = "",
    also: int | None = None,
    excused: tuple[str, ...] = ALTERNATIVES,
) -> Iterator[str]:
    """Ask for all that is described, right and wrong, and yield what is not as described.

    :param phase: ``examples``, ``coverage`` for the limits of all parameters, or ``fuzzing``.
    :param leave: a pattern of operations to leave alone.
    :param also: a status in which right and wrong may end.
    :param excused: operations that may refuse what their description admits.
    """
    config = SchemathesisConfig(seed=1)
    schema = schemathesis.openapi.from_dict(described, config=config)
    schema.app = gateway
    project = schema.config
    project.update(continue_on_failure=True)
    project.generation.update(deterministic=True, max_examples=max_examples)
    for name in ("examples", "coverage", "fuzzing", "stateful"):
        project.phases.get_by_name(name=name).enabled = name == phase
    project.phases.examples.fill_missing = True
    checks = project.checks
    checks.update(included_check_names=CHECKS)
    trouble = [str(also)] if also else []
    checks.not_a_server_error.expected_statuses = ["2xx", "4xx", *trouble]
    # 413, since bounds are in bytes, and a schema counts characters.
    checks.negative_data_rejection.expected_statuses = ["400", "413", *trouble]
    checks.positive_data_acceptance.expected_statuses = ["200", "404", "409", "413", *trouble]
    chosen = schema.exclude(name_regex=leave) if leave else schema
    for event in engine.from_schema(chosen).execute():
        match event:
            case events.ScenarioFinished():
                yield from failures(event, excused)
            case events.NonFatalError():
                yield event.info.format()
            case events.FatalError():
                raise event.exception
            case _:
                pass


def failures(event: events.ScenarioFinished, excused: tuple[str, ...]) -> Iterator[str]:
    asked = event.recorder.label
    for case, checks in event.recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            body = event.recorder.cases[case].value.body
            may_refuse = asked in excused or (isinstance(body, dict) and IDENTITY & body.keys())
            if not (may_refuse and check.name == "positive_data_acceptance"):
                found = check.failure_info
                yield f"{asked}: {check.name}: {found.failure}\n{found.code_sample}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_examples_do_what_is_described(dialect: str) -> None:
    gateway = Gateway(Node(dialect=dialect, limits=SMALL))

    assert list(complaints(gateway, document(dialect), "examples")) == []
    for operation in OPERATIONS:
        for method in operation.methods:
            assert {(method, operation.path, status) for status in (200, 404, 409)} & gateway.seen


TWINS = "^(PUT |POST /kv/put$)"
"""What does the same as another operation."""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whatever_is_asked_ends_as_is_described(dialect: str) -> None:
    gateway = Gateway(Node(dialect=dialect, limits=SMALL))
    asked = complaints(gateway, document(dialect), "fuzzing", max_examples=5, leave=TWINS)

    assert list(asked) == []
    # What is drawn differs from machine to machine; that all is refused once is the next test's.
    assert {status for _, _, status in gateway.seen} >= {200, 400}


def test_whatever_is_beyond_a_bound_is_refused_and_what_is_just_within_is_not() -> None:
    gateway = Gateway(Node(limits=SMALL))
    described = with_simple_queries(document("seed"))

    assert list(complaints(gateway, described, "coverage", leave=TWINS, excused=())) == []
    for operation in OPERATIONS:
        if operation.asks and operation.path != "/kv/put":
            assert (operation.methods[0], operation.path, 400) in gateway.seen
    paths = {operation.path for operation in OPERATIONS} - {"/kv/put"}
    assert {("TRACE", path, 405) for path in paths} <= gateway.seen


def test_only_what_would_fill_a_disk_further_ends_for_want_of_room() -> None:
    described = document("seed")["paths"]
    ends = {
        path
        for path, methods in described.items()
        for asked in methods.values()
        if isinstance(asked, dict) and "507" in asked.get("responses", {})
    }
    growing = {operation.path for operation in OPERATIONS if operation.gives in GROWING}
    assert ends == growing
    assert len(growing) >= len(GROWING)


GROWING = {"insert", "update", "set", "cas", "append"}

TROUBLES = {
    503: Unavailable("no leader is known"),
    504: OutcomeUnknown("nothing was heard of it in time"),
    500: DiskError("the disk is full"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", TROUBLES)
def test_in_trouble_requests_fail_as_is_described(dialect: str, status: int) -> None:
    node = Node(dialect=dialect, limits=SMALL)
    node.store.trouble = TROUBLES[status]
    gateway = Gateway(node)
    # Only what is logged can be unknown.
    leave = "/kvman/(dump|journal|backup)$" if status == 504 else ""

    assert list(complaints(gateway, document(dialect), "examples", leave=leave, also=status)) == []
    for operation in OPERATIONS:
        if operation.verb is not None:
            assert (operation.methods[0], operation.path, status) in gateway.seen
