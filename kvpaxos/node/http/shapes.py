"""What replies hold, as JSON Schemas, for OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Final, TypeAlias

from kvpaxos.errors import Applied
from kvpaxos.node.http.dialects import Dialect, Fields
from kvpaxos.node.http.limits import HttpLimits

Schema: TypeAlias = dict[str, object]
"""A JSON Schema, in the dialect of OpenAPI 3.1."""

Members: TypeAlias = dict[str, Schema]

TEXT: Final[Schema] = {"type": "string"}
TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
AMOUNT: Final[Schema] = {"type": "number", "minimum": 0}
AMOUNT_OR_NULL: Final[Schema] = {"type": ["number", "null"], "minimum": 0}
BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}


def having(members: Members, *, optional: Members | None = None) -> Schema:
    """Return the schema of an object with ``members``, and perhaps others."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
    }


def exactly(members: Members, *, optional: Members | None = None) -> Schema:
    """Return the schema of an object with ``members``, ``optional`` ones, and no others."""
    return {**having(members, optional=optional), "additionalProperties": False}


def each(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def bytes_called(name: str) -> Members:
    """Return the members that tell bytes: as text if they are UTF-8, and else in base64."""
    meaning = f"null if there is none, or none in UTF-8: see `{name}_base64` then"
    return {name: {**TEXT_OR_NULL, "description": meaning}, f"{name}_base64": BASE64}


def verdict(success: object, fields: Fields, applied: Iterable[Applied] = ()) -> Schema:
    """Return the schema of a reply that says ``success`` and carries ``fields``."""
    members: Members = {"success": {"const": success}}
    optional: Members = {}
    for field in fields:
        match field:
            case "value":
                optional = bytes_called("value")
                members["value"] = optional.pop("value")
            case "message":
                members["message"] = {**TEXT, "description": "one sentence, for people"}
            case "applied":
                members["applied"] = {"enum": sorted(applied)}
    return exactly(members, optional=optional)


def number(dialect: Dialect) -> Schema:
    """Return the schema of a reply that is a count."""
    digits: Schema = {"type": "string", "pattern": "^[0-9]+$"}
    return exactly({"result": digits if isinstance(dialect.number(0), str) else COUNT})


PEER: Final = having(
    {
        "peer": TEXT,
        **dict.fromkeys(("dialed", "accepted", "formed"), FLAG),
        **dict.fromkeys(("bytes_queued", "sent", "received"), COUNT),
        "dropped": {"type": "object", "additionalProperties": COUNT},
        "round_trip_ms": AMOUNT_OR_NULL,
        **dict.fromkeys(("records", "decided", "durable"), COUNT_OR_NULL),
    },
    optional={"complaint": TEXT_OR_NULL},
)

JOURNAL: Final = having(
    {},
    optional={
        **dict.fromkeys(("bytes", "segments", "records", "durable_records", "syncs"), COUNT),
        **dict.fromkeys(("last_sync_ms", "slowest_sync_ms"), AMOUNT),
        **dict.fromkeys(("state_durable_through", "state_flushes"), COUNT),
    },
)

DISK: Final = having(
    {}, optional={"free_bytes": COUNT_OR_NULL, **dict.fromkeys(("low", "reserve_held"), FLAG)}
)

REPAIR: Final = having(
    {},
    optional={
        "count": COUNT,
        "mended": COUNT,
        **dict.fromkeys(("findings", "set_aside"), each(TEXT)),
    },
)

SCAN: Final = having(
    {},
    optional={
        "part": TEXT_OR_NULL,
        **dict.fromkeys(("bytes", "completed"), COUNT),
        "completed_ago_s": AMOUNT_OR_NULL,
    },
)

STATE: Final = having(
    {
        **dict.fromkeys(("keys", "revision"), COUNT),
        "digest": TEXT,
        **dict.fromkeys(("unflushed_bytes", "memory_bytes", "file_bytes"), COUNT),
        **dict.fromkeys(("client_sessions", "client_sessions_bytes"), COUNT),
        **dict.fromkeys(("request_ids", "request_ids_bytes"), COUNT),
    },
    optional={"agreed_slot": COUNT},
)

STATUS: Final = having(
    {
        "node": TEXT,
        "role": {"enum": ["forming", "following", "preparing", "leading"]},
    },
    optional={
        **dict.fromkeys(("version", "cluster", "ballot", "leader"), TEXT),
        **dict.fromkeys(("members", "waits_for"), each(TEXT)),
        **dict.fromkeys(("life", "steps", "decided", "applied", "kept_from", "requests"), COUNT),
        **dict.fromkeys(("uptime_s", "longest_pause_ms"), AMOUNT),
        "fetching": having({}, optional={"from": TEXT, "bytes": COUNT}),
        **dict.fromkeys(("ready", "volatile"), FLAG),
        **dict.fromkeys(("trouble", "alarm"), TEXT_OR_NULL),
        "peers": each(PEER),
        "journal": JOURNAL,
        "disk": DISK,
        "repair": REPAIR,
        "scan": SCAN,
        "state": STATE,
    },
)

LINK: Final = having(
    {"from": TEXT, "to": TEXT, "state": {"enum": ["up", "cut"]}},
    optional={"delay": AMOUNT, "loss": {**AMOUNT, "maximum": 1}, "bytes_per_s": AMOUNT_OR_NULL},
)

_OPERANDS: Final = ("key", "value", "expect", "client", "requestid")

COMMAND: Final = having(
    {
        "node": TEXT,
        "life": COUNT,
        "sequence": COUNT,
        "settled_through": COUNT,
        "operation": TEXT_OR_NULL,
    },
    optional={
        "error": TEXT,
        "opid": COUNT,
        **{part: schema for name in _OPERANDS for part, schema in bytes_called(name).items()},
    },
)

SLOT: Final = having(
    {"slot": COUNT}, optional={"ballot": TEXT_OR_NULL, "commands": each(COMMAND), "digest": TEXT}
)

PAIR: Final[Schema] = {
    "anyOf": [
        {**each(TEXT), "minItems": 2, "maxItems": 2},
        having({}, optional={**bytes_called("key"), **bytes_called("value")}),
    ]
}


def _limits(limits: HttpLimits) -> Schema:
    own: Members = {name: {**AMOUNT, "examples": [value]} for name, value in asdict(limits).items()}
    return {**having(own), "additionalProperties": AMOUNT}


SHAPES: Final[Mapping[str, Callable[[Dialect, HttpLimits], Schema]]] = MappingProxyType(
    {
        "agreed": lambda dialect, _: exactly({"success": {"const": dialect.yes}}),
        "dump": lambda _, __: each(PAIR),
        "backup": lambda _, __: {},
        "status": lambda _, __: STATUS,
        "limits": lambda _, limits: _limits(limits),
        "links": lambda _, __: having({"links": each(LINK)}),
        "journal": lambda _, __: having({"slots": each(SLOT), "next": COUNT_OR_NULL}),
        "openapi": lambda _, __: having(
            {"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}}
        ),
    }
)
"""What a reply holds that is no verdict on an operation, by its name."""
