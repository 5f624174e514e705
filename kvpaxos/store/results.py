"""What comes of a command: a result if it was executed, a refusal if it was not."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from kvpaxos.errors import StateDamaged

Outcome: TypeAlias = Literal[
    "ok", "exists", "missing", "differs", "too_large", "invalid", "stale", "reused"
]
"""What came of an operation.

``ok``: a write changed the state, a read found what it was after. All others changed nothing:
``exists``: the key should not have been there; ``missing``: it should; ``differs``: it holds
something else than expected; ``too_large``: the key, or the value that would come of it, is over
its limit; ``invalid``: this is no operation.

Two are for requests with an identity, and say that this one was not carried out now: ``stale``:
its client has used a greater opid since, so whether this one was carried out earlier is not known
any more; ``reused``: another request has the same identity.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What an executed command says to its client.

    :ivar value: after an update or a deletion the old value; after an append the new one; after
        a failed comparison the current one, if there is one; after a read what was found, a
        number in decimal digits; else None.
    :ivar revision: the state's revision once the command was executed.
    """

    outcome: Outcome
    value: bytes | None
    revision: int


class Refusal(Enum):
    """Why a command was not executed."""

    OLD_LIFE = "its node has begun a newer life since"
    DUPLICATE = "it was executed before, or its node no longer waits for it"
    GAP = "an earlier command of its node has not been executed yet"


_OUTCOMES: Final[tuple[Outcome, ...]] = (
    "ok",
    "exists",
    "missing",
    "differs",
    "too_large",
    "invalid",
    "stale",
    "reused",
)
"""The place of an outcome here is its number in records: new ones go to the end."""

_NUMBERS: Final = {outcome: number for number, outcome in enumerate(_OUTCOMES)}

_FORMAT: Final = 1
_HEADER: Final = struct.Struct(">BB?Q")


def encode_result(result: Result) -> bytes:
    """Return the record of ``result``."""
    value = result.value
    header = _HEADER.pack(_FORMAT, _NUMBERS[result.outcome], value is not None, result.revision)
    return header if value is None else header + value


def decode_result(place: bytes, record: bytes) -> Result:
    """Return the result that ``record`` holds.

    :param place: where the engine holds it, for the error.
    :raises StateDamaged: it holds none.
    """
    if len(record) < _HEADER.size or record[0] != _FORMAT or record[1] >= len(_OUTCOMES):
        raise StateDamaged(f"key {place.hex()}", "this is not the record of an answer")
    _, number, has_value, revision = _HEADER.unpack_from(record)
    return Result(_OUTCOMES[number], record[_HEADER.size :] if has_value else None, revision)
