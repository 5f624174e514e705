"""The ways to spell replies. Each dialect is one row of `DIALECTS`; handlers know none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from twisted.web import http

Verb: TypeAlias = Literal["insert", "update", "delete", "set", "cas", "append", "get", "count"]

VERBS: Final[Mapping[bytes, Verb]] = MappingProxyType(
    {
        b"/kv/insert": "insert",
        b"/kv/put": "insert",
        b"/kv/update": "update",
        b"/kv/delete": "delete",
        b"/kv/set": "set",
        b"/kv/cas": "cas",
        b"/kv/append": "append",
        b"/kv/get": "get",
        b"/kvman/countkey": "count",
    }
)
"""What each path asks of the state. Those that are missing here ask the node, or for a dump."""

Field: TypeAlias = Literal["value", "message", "applied"]
Fields: TypeAlias = tuple[Field, ...]
Chosen: TypeAlias = Mapping[Verb | None, Fields]
"""Which fields stand beside ``success``, by verb; None is every path that has no verb."""

Denial: TypeAlias = Literal["exists", "missing", "differs", "stale"]
"""Why a request was not carried out though nothing is wrong with it or with the cluster."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to spell replies.

    :ivar yes: what ``success`` says of a request that succeeded.
    :ivar no: what it says of one that did not.
    :ivar number: how a number is spelled.
    :ivar absent: how a value is spelled that is not there.
    :ivar done: the fields of a request that succeeded.
    :ivar undone: the fields if the key is there, is not there, or differs.
    :ivar failed: the fields of every other failure.
    :ivar statuses: the status code of each denial; those of other failures are always the same.
    """

    yes: object
    no: object
    number: Callable[[int], object]
    absent: str | None
    done: Chosen
    undone: Chosen
    failed: Chosen
    statuses: Mapping[Denial, int]


_VALUE: Final[Fields] = ("value",)
_WHY: Final[Fields] = ("message", "applied")


def _fields(most: Fields, others: Mapping[Verb, Fields] = MappingProxyType({})) -> Chosen:
    """Return ``most`` for each verb that is not among the ``others``, and where there is none."""
    return MappingProxyType({**dict.fromkeys((None, *get_args(Verb)), most), **others})


_OLD_OR_NEW: Final = _fields(
    (), {"update": _VALUE, "delete": _VALUE, "append": _VALUE, "get": _VALUE}
)
_WHAT_WAS_FOUND: Final = _fields((), {"delete": _VALUE, "get": _VALUE})

SEED: Final = Dialect(
    yes="true",
    no="false",
    number=int,
    absent=None,
    done=_OLD_OR_NEW,
    undone=_fields(("message",), {"cas": ("message", "value")}),
    failed=_fields(_WHY),
    statuses=MappingProxyType(
        {"exists": http.OK, "missing": http.OK, "differs": http.OK, "stale": http.OK}
    ),
)

HANDOUT: Final = Dialect(
    yes="true",
    no="false",
    number=str,
    absent="",
    done=_WHAT_WAS_FOUND,
    undone=_WHAT_WAS_FOUND,
    failed=_WHAT_WAS_FOUND,
    statuses=SEED.statuses,
)

PLAIN: Final = Dialect(
    yes=True,
    no=False,
    number=int,
    absent=None,
    done=_OLD_OR_NEW,
    undone=_fields(_WHY, {"cas": (*_WHY, "value")}),
    failed=_fields(_WHY),
    statuses=MappingProxyType(
        {
            "exists": http.CONFLICT,
            "missing": http.NOT_FOUND,
            "differs": http.CONFLICT,
            "stale": http.CONFLICT,
        }
    ),
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {"seed": SEED, "handout": HANDOUT, "plain": PLAIN}
)
"""By the names that settings give them."""
