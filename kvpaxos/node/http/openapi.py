"""The HTTP face, described in OpenAPI 3.1, for ``/openapi.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final, get_args

from kvpaxos.node.http.answers import Answer, answers
from kvpaxos.node.http.catalog import (
    APART,
    CLIENT,
    OPERATIONS,
    OPID,
    TAGS,
    Operation,
    Parameter,
)
from kvpaxos.node.http.dialects import Dialect
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.replies import JSON
from kvpaxos.node.http.shapes import COUNT, TEXT, Members, Schema, having
from kvpaxos.node.http.store import ReadKind
from kvpaxos.version import VERSION

_ABOUT: Final = """\
Any node takes any request.

Parameters may stand in the query string, in a form, in a JSON object or in a multipart body, with
any method; each is described here where most clients put it. A body's parameters win over the
query's, and those of other names are ignored. A body is taken for a form, whatever its type,
unless it looks like what its type says. In JSON, numbers may be strings.

A path that takes GET takes HEAD too, and every path answers OPTIONS.
"""

_IN_QUERY: Final = frozenset({"GET", "DELETE"})
"""The methods whose parameters are described as those of a query; others have a body."""

_RECEIPT: Final[Members] = {
    "X-Kvpaxos-Slot": {**COUNT, "description": "the slot of the log that the reply rests on"},
    "X-Kvpaxos-Leader": {**TEXT, "description": "the node that leads, or nothing"},
    "X-Kvpaxos-Read": {
        "enum": list(get_args(ReadKind)),
        "description": "`logged`: the request is in the log; `stale`: nobody was asked;"
        " else the reply is not stale because of this",
    },
}
"""The headers of every reply."""

_OTHER_HEADERS: Final[Members] = {
    "Retry-After": {**COUNT, "description": "in how many seconds to try again"}
}


def describe(dialect: Dialect, limits: HttpLimits) -> Schema:
    """Return the description of a face that has these replies and these limits."""
    face = _Face(dialect, limits)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kvpaxos",
            "version": VERSION,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": _ABOUT,
        },
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS.items()],
        "paths": face.paths(),
        "components": face.components,
    }


class _Face:
    """Describes paths, and in ``components``, once, what many of them refer to."""

    def __init__(self, dialect: Dialect, limits: HttpLimits) -> None:
        self.components: dict[str, Members] = {}
        self._dialect = dialect
        self._limits = limits

    def paths(self) -> dict[str, Schema]:
        """Return what can be asked of every path, by method."""
        paths: dict[str, Schema] = {}
        for operation in OPERATIONS:
            for method in operation.methods:
                described = self._operation(operation, method)
                paths.setdefault(operation.path, {})[method.lower()] = described
        return paths

    def _refer(self, kind: str, name: str, described: Schema) -> Schema:
        """Return a reference to ``described``, which has this name wherever it stands."""
        known = self.components.setdefault(kind, {}).setdefault(name, described)
        assert known == described, f"two of the {kind} are called {name}"
        return {"$ref": f"#/components/{kind}/{name}"}

    def _operation(self, operation: Operation, method: str) -> Schema:
        name = operation.path.strip("/").replace("/", "_").replace(".", "_")
        described: Schema = {
            "operationId": f"{method.lower()}_{name}",
            "tags": [operation.tag],
            "summary": operation.summary,
        }
        if operation.asks and method in _IN_QUERY:
            described["parameters"] = [self._in_query(asked) for asked in operation.asks]
        elif operation.asks:
            described["requestBody"] = self._body(operation)
        described["responses"] = dict(self._responses(operation))
        return described

    def _in_query(self, asked: Parameter) -> Schema:
        # None is required: OpenAPI has no words for a key in one of two ways.
        described: Schema = {
            "name": asked.name,
            "in": "query",
            "description": asked.meaning,
            "schema": self._schema(asked),
        }
        if asked.example is not None:
            described["example"] = asked.example
        return self._refer("parameters", asked.title, described)

    def _schema(self, asked: Parameter) -> Schema:
        schema = {**asked.schema(self._limits), "description": asked.meaning}
        return self._refer("schemas", asked.title, schema)

    def _body(self, operation: Operation) -> Schema:
        """Return the description of a body that holds what is asked for."""
        form = {**self._members(operation), "additionalProperties": TEXT}
        contents = {
            "application/x-www-form-urlencoded": form,
            JSON: self._members(operation, null=True),
            "multipart/form-data": {**form, "propertyNames": {"minLength": 1}},
        }
        asked = operation.required or operation.optional
        example = {one.name: one.example for one in asked}
        body = {kind: {"schema": given, "example": example} for kind, given in contents.items()}
        return self._refer("requestBodies", operation.gives, {"required": True, "content": body})

    def _members(self, operation: Operation, *, null: bool = False) -> Schema:
        """Return the schema of a body's parameters.

        :param null: whether null may stand for what is not given.
        """
        members: Members = {}
        for asked in operation.asks:
            members[asked.name] = self._schema(asked)
            if null and (asked not in operation.required or asked.encoded is not None):
                members[asked.name] = {"anyOf": [members[asked.name], {"type": "null"}]}
        return {
            "type": "object",
            "properties": members,
            "maxProperties": self._limits.parameters_max,
            "allOf": [self._refer("schemas", *rule) for rule in _rules(operation)],
        }

    def _responses(self, operation: Operation) -> Iterator[tuple[str, Schema]]:
        """Yield all that may come of ``operation``, by status."""
        all_of_them = list(answers(operation, self._dialect, self._limits))
        for status in sorted({answer.status for answer in all_of_them}):
            these = [answer for answer in all_of_them if answer.status == status]
            common = all(answer.common for answer in these)
            name = f"{status}" if common else f"{operation.gives}_{status}"
            yield str(status), self._refer("responses", name, self._response(these))

    def _response(self, these: Sequence[Answer]) -> Schema:
        (kind,) = {answer.kind for answer in these}
        schemas = {json.dumps(answer.schema): answer.schema for answer in these}
        one, *others = schemas.values()
        content: Schema = {"schema": {"anyOf": [one, *others]} if others else one}
        examples = {
            answer.name: {"value": json.loads(answer.example)} for answer in these if answer.example
        }
        headers = {name: _OTHER_HEADERS[name] for answer in these for name in answer.headers}
        return {
            "description": "; or: ".join(answer.meaning for answer in these),
            "headers": {
                name: self._refer("headers", name, {"required": True, "schema": schema})
                for name, schema in {**_RECEIPT, **headers}.items()
            },
            "content": {kind: {**content, **({"examples": examples} if examples else {})}},
        }


def _rules(operation: Operation) -> Iterator[tuple[str, Schema]]:
    """Yield what must be given and what must not be given together, with a name for each rule."""
    for asked in operation.required:
        either = (asked, asked.encoded) if asked.encoded else (asked,)
        yield f"one_{asked.name}", {"oneOf": [_given(one) for one in either]}
    for asked in operation.optional:
        if asked.encoded:
            yield f"at_most_one_{asked.name}", _not_both(asked, asked.encoded)
    if operation.any_of:
        yield "a_switch", {"anyOf": [_given(asked) for asked in operation.any_of]}
    if OPID in operation.optional:
        needed: Schema = {"anyOf": [{"not": _given(CLIENT)}, _given(OPID)]}
        yield "one_identity", {"allOf": [needed, *(_not_both(*pair) for pair in APART)]}


def _not_both(one: Parameter, other: Parameter) -> Schema:
    return {"not": {"allOf": [_given(one), _given(other)]}}


def _given(asked: Parameter) -> Schema:
    return having({asked.name: {"not": {"type": "null"}}})
