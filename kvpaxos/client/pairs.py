"""The pairs of a dump, out of its bytes as they arrive. Pure."""

from __future__ import annotations

import json
import re
from typing import Final, TypeAlias

from kvpaxos.client.replies import spelled

Pair: TypeAlias = tuple[bytes, bytes]
"""A key and its value."""


class Pairs:
    """Cuts the JSON array of a dump into pairs. It holds about one pair that is not whole yet.

    All methods raise `ValueError` once what came is no dump.

    :param pair_bytes_max: the longest pair that it takes, as it is spelled.
    """

    def __init__(self, pair_bytes_max: int) -> None:
        self._pair_bytes_max = pair_bytes_max
        self._rest = bytearray()
        self._opened = False
        self._any = False
        # Bytes that must be there before it is worth looking for a whole pair again: a long one
        # that comes in many pieces would else be looked through as many times.
        self._worth = 0

    def feed(self, data: bytes) -> list[Pair]:
        """Take a piece of the dump, and return the pairs that it made whole."""
        self._rest += data
        if len(self._rest) < self._worth:
            return []
        return self._cut()

    def end(self) -> list[Pair]:
        """Return the last pairs. The array must have come to its end."""
        pairs = self._cut()
        if not self._opened or self._rest.strip() != b"]":
            raise ValueError("the dump is cut off")
        return pairs

    def _cut(self) -> list[Pair]:
        if not self._opened and not self._open():
            return []
        found = _PAIRS.match(self._rest)
        assert found is not None, "it matches nothing, too"
        items = bytes(found[0]).strip()
        del self._rest[: found.end()]
        self._worth = 0 if items else 2 * len(self._rest)
        if len(self._rest) > self._pair_bytes_max:
            raise ValueError(f"a pair of the dump has more than {self._pair_bytes_max} bytes")
        if items and self._any:
            if not items.startswith(b","):
                raise ValueError("a comma is missing")
            items = items[1:]
        self._any = self._any or bool(items)
        return [_pair(item) for item in json.loads(b"[" + items + b"]")]

    def _open(self) -> bool:
        opening = self._rest.lstrip()
        if opening and not opening.startswith(b"["):
            raise ValueError("this is not a dump")
        self._opened = bool(opening)
        self._rest = opening[1:]
        return self._opened


def _pair(item: object) -> Pair:
    """Return the pair that a list of two, or an object with names, stands for."""
    match item:
        case [str(key), str(value)]:
            return key.encode(), value.encode()
        case dict():
            key_bytes, value_bytes = spelled("key", item), spelled("value", item)
            if key_bytes is not None and value_bytes is not None:
                return key_bytes, value_bytes
        case _:
            pass
    raise ValueError("this is not a pair")


# Each piece can match in one way only, so that giving up takes linear time. Possessive quantifiers
# would say so, but before Python 3.11.5 they match what they should not.
_TEXT: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_LIST: Final = rb'\[[^"\[\]]*(?:' + _TEXT + rb'[^"\[\]]*)*\]'
_OBJECT: Final = rb'\{[^"{}]*(?:' + _TEXT + rb'[^"{}]*)*\}'
_PAIRS: Final = re.compile(rb"(?:\s*,?\s*(?:" + _LIST + rb"|" + _OBJECT + rb"))*", re.DOTALL)
"""As many whole pairs as there are, each but the first with a comma before it."""
