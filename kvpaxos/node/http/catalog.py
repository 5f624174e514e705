"""What can be asked of the HTTP face: its paths and their parameters, as data for OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final, NamedTuple, TypeAlias, cast, get_args

from kvpaxos.errors import Forbidden, NoSpace, OutcomeUnknown
from kvpaxos.node.http.dialects import Verb
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.parameters import WHOLE_MAX
from kvpaxos.node.http.shapes import BASE64, Schema
from kvpaxos.paxos.ballot import FIRST_SLOT
from kvpaxos.store.limits import IDENTIFIER_BYTES_MAX, OPID_MAX

TAGS: Final = {
    "keys": "Keys and values",
    "cluster": "Looking at the whole",
    "node": "Running one node, from its own machine",
}


class Parameter(NamedTuple):
    """One parameter.

    :ivar meaning: one phrase for people.
    :ivar schema: what it may be.
    :ivar example: a value that makes sense beside those of the others, or None.
    :ivar encoded: another parameter that may be given in its place, or None.
    :ivar of: where it is asked for, if others of that name mean something else; or nothing.
    """

    name: str
    meaning: str
    schema: Callable[[HttpLimits], Schema]
    example: object = None
    encoded: Parameter | None = None
    of: str = ""

    @property
    def title(self) -> str:
        """Return a name that no other parameter has."""
        return f"{self.of}_{self.name}" if self.of else self.name


class Operation(NamedTuple):
    """What can be asked of one path.

    :ivar methods: what a GET or a DELETE asks for stands in the query, else in the body.
    :ivar summary: a few words for people.
    :ivar gives: the verb whose replies these are, or the name of the reply in `shapes.SHAPES`.
    :ivar any_of: optional parameters of which one at least must be given.
    """

    path: str
    methods: tuple[str, ...]
    tag: str
    summary: str
    gives: Verb | str
    required: tuple[Parameter, ...] = ()
    optional: tuple[Parameter, ...] = ()
    any_of: tuple[Parameter, ...] = ()

    @property
    def asks(self) -> tuple[Parameter, ...]:
        """Return all parameters, with those that may be given in their place."""
        named = (*self.required, *self.optional)
        return tuple(asked for one in named for asked in (one, one.encoded) if asked is not None)

    @property
    def verb(self) -> Verb | None:
        """Return the verb, if this asks for one key."""
        return cast(Verb, self.gives) if self.gives in get_args(Verb) else None

    def may_end_in(self, error: type[Exception]) -> bool:
        """Return whether ``error`` may come of it. Most may: it can be no HTTP, or one too many."""
        if issubclass(error, Forbidden):
            return self.tag == "node"
        if issubclass(error, OutcomeUnknown):
            return self.verb is not None
        if issubclass(error, NoSpace):
            return self.verb is not None and self.verb not in {"get", "count", "delete"}
        return True


_Bound: TypeAlias = Callable[[HttpLimits], int]


def _text(
    name: str, meaning: str, *, least: int, most: _Bound, example: str | None = None
) -> Parameter:
    """Return a text whose bound is in bytes: it has no more characters than that."""

    def schema(limits: HttpLimits) -> Schema:
        return {"type": "string", "minLength": least, "maxLength": most(limits)}

    return Parameter(name, f"{meaning}; its bound is in bytes of UTF-8", schema, example)


def _bytes(name: str, meaning: str, *, least: int, most: _Bound, example: str) -> Parameter:
    """Return a text, in whose place any bytes may be given in base64."""

    def schema(limits: HttpLimits) -> Schema:
        letters_max = 4 * ceil(most(limits) / 3)
        return {**BASE64, "minLength": 4 * least, "maxLength": letters_max, "pattern": _BASE64}

    encoded = Parameter(f"{name}_base64", f"`{name}` in base64, in its place", schema)
    plain = _text(name, meaning, least=least, most=most, example=example)
    return plain._replace(encoded=encoded)


_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
"""What base64 makes of bytes: padded, and without stray bits at its end."""


def _key_bytes_max(limits: HttpLimits) -> int:
    return limits.key_bytes_max


def _value_bytes_max(limits: HttpLimits) -> int:
    return limits.value_bytes_max


KEY: Final = _bytes("key", "the key", least=1, most=_key_bytes_max, example="color")
VALUE: Final = _bytes("value", "the value", least=0, most=_value_bytes_max, example="blue")
EXPECT: Final = _bytes(
    "expect",
    "the value that the key must hold now; if it is not given, there must be no such key",
    least=0,
    most=_value_bytes_max,
    example="red",
)
AFTER: Final = _bytes(
    "after",
    "the key to go on behind, which need not exist",
    least=0,
    most=_key_bytes_max,
    example="color",
)
FROM_NODE: Final = _text(
    "from", "the sending node, or all", least=0, most=_key_bytes_max, example="n01"
)
TO_NODE: Final = _text(
    "to", "the receiving node, or all", least=0, most=_key_bytes_max, example="n02"
)

CONSISTENCY: Final = Parameter(
    "consistency",
    "`stale`: answer at once from what this node has applied, even if it is cut off",
    lambda _: {"type": "string", "enum": ["linearizable", "stale"], "default": "linearizable"},
    "stale",
)
TIMEOUT: Final = Parameter(
    "timeout",
    "how many seconds the request may take",
    lambda limits: {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": limits.timeout_s_max,
        "default": limits.timeout_s_default,
    },
    2.5,
)
LIMIT: Final = Parameter(
    "limit",
    "how many pairs to send at most; all, if it is not given",
    lambda _: {"type": "integer", "minimum": 1, "maximum": WHOLE_MAX},
    100,
)
FROM_SLOT: Final = Parameter(
    "from",
    "the first slot",
    lambda _: {
        "type": "integer",
        "minimum": FIRST_SLOT,
        "maximum": WHOLE_MAX,
        "default": FIRST_SLOT,
    },
    1,
    of="journal",
)
SLOTS: Final = Parameter(
    "limit",
    "how many slots to return at most",
    lambda limits: {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.journal_slots_max,
        "default": limits.journal_slots_default,
    },
    10,
    of="journal",
)
STATE: Final = Parameter(
    "state",
    "`cut`: lose every message",
    lambda _: {"type": "string", "enum": ["up", "cut"]},
    "cut",
)
DELAY: Final = Parameter(
    "delay",
    "how many seconds each message is held back",
    lambda limits: {"type": "number", "minimum": 0, "maximum": limits.delay_s_max},
    0.2,
)
LOSS: Final = Parameter(
    "loss",
    "the share of messages to lose",
    lambda _: {"type": "number", "minimum": 0, "maximum": 1},
    0.1,
)

CLIENT: Final = _text(
    "client",
    "who numbers its requests with `opid`; if it is not given, there may be one such client only",
    least=1,
    most=lambda _: IDENTIFIER_BYTES_MAX,
)
OPID: Final = Parameter(
    "opid",
    "the number of this request, greater than those before: the same one gets the same reply again",
    lambda _: {"type": "integer", "minimum": 0, "maximum": OPID_MAX},
)
REQUESTID: Final = _text(
    "requestid",
    "a name of this request alone: the same one gets the same reply again",
    least=1,
    most=lambda _: IDENTIFIER_BYTES_MAX,
)
ID: Final = REQUESTID._replace(name="id", meaning="the same as `requestid`")

APART: Final = ((OPID, REQUESTID), (OPID, ID), (REQUESTID, ID))
"""Parameters that must not be given together."""

_WRITE: Final = ("POST", "PUT")
_WAITS: Final = (CLIENT, OPID, REQUESTID, ID, TIMEOUT)


def _keys(path: str, methods: tuple[str, ...], summary: str, gives: Verb) -> Operation:
    required = (KEY,) if gives in {"delete", "get"} else (KEY, VALUE)
    own = {"cas": (EXPECT,), "get": (CONSISTENCY,)}.get(gives, ())
    return Operation(path, methods, "keys", summary, gives, required, (*own, *_WAITS))


OPERATIONS: Final = (
    _keys("/kv/insert", _WRITE, "Store a value under a key that is new", "insert"),
    _keys("/kv/put", _WRITE, "The same as `/kv/insert`", "insert"),
    _keys("/kv/update", _WRITE, "Replace the value of a key that exists", "update"),
    _keys("/kv/delete", ("POST", "DELETE"), "Remove a key that exists", "delete"),
    _keys("/kv/set", _WRITE, "Store a value, whether the key exists or not", "set"),
    _keys("/kv/cas", _WRITE, "Store a value if the key holds what is expected", "cas"),
    _keys("/kv/append", ("POST",), "Add to the end of a value, or create it", "append"),
    _keys("/kv/get", ("GET",), "Read the value of a key", "get"),
    Operation("/kvman/countkey", ("GET",), "cluster", "Count the keys", "count", (), _WAITS),
    Operation(
        "/kvman/dump",
        ("GET",),
        "cluster",
        "Read all pairs of one moment, or a page of them, in the order of their keys",
        "dump",
        (),
        (LIMIT, AFTER, TIMEOUT),
    ),
    Operation("/kvman/status", ("GET",), "cluster", "Describe the node", "status"),
    Operation("/kvman/limits", ("GET",), "cluster", "Tell every limit", "limits"),
    Operation("/healthz", ("GET",), "cluster", "Tell that the process is alive", "agreed"),
    Operation("/readyz", ("GET",), "cluster", "Tell whether the node serves", "agreed"),
    Operation("/openapi.json", ("GET",), "cluster", "Return this description", "openapi"),
    Operation("/kvman/shutdown", ("GET", "POST"), "node", "Stop the node in good order", "agreed"),
    Operation("/kvman/links", ("GET",), "node", "Describe the links", "links"),
    Operation(
        "/kvman/links",
        ("POST",),
        "node",
        "Cut, delay, make lossy or heal links of a cluster that allows it",
        "links",
        (),
        (FROM_NODE, TO_NODE, STATE, DELAY, LOSS),
        any_of=(STATE, DELAY, LOSS),
    ),
    Operation(
        "/kvman/backup",
        ("GET",),
        "node",
        "Read the whole state of one moment, as a backup",
        "backup",
        (),
        (CONSISTENCY, TIMEOUT),
    ),
    Operation(
        "/kvman/journal",
        ("GET",),
        "node",
        "Return decided slots",
        "journal",
        (),
        (FROM_SLOT, SLOTS),
    ),
)
"""Every path and method of `routes`, but for HEAD and OPTIONS, which go without saying."""
