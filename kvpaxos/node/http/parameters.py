"""The parameters of a request, each checked when a handler asks for it."""

from __future__ import annotations

import re
from typing import Final

from kvpaxos.errors import BadRequest, TooLarge
from kvpaxos.node.http.bodies import Given, Nonsense, Number, Pairs, read_body, read_form
from kvpaxos.node.http.limits import HttpLimits

_WHOLE: Final = re.compile(rb"[0-9]{1,18}")
_DECIMAL: Final = re.compile(rb"[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")


class Parameters:
    """What a request asks for.

    A source (the query string, the body) names a parameter at most once, and the body's
    parameters win over the query's. Names that nobody asks for are ignored.

    Each getter raises `BadRequest`, and says which parameter is wrong, if what it should return
    is missing or makes no sense, and `TooLarge` if it is over its limit.
    """

    __slots__ = ("_given", "_limits")

    def __init__(
        self, limits: HttpLimits, *, query: bytes, content_type: bytes = b"", body: bytes = b""
    ) -> None:
        self._limits = limits
        most = limits.parameters_max
        self._given = _unique(read_form(query, parameters_max=most), "the query string")
        if body:
            self._given |= _unique(read_body(content_type, body, parameters_max=most), "the body")

    def key(self) -> bytes:
        """Return the key, which is never empty."""
        key = self._required("key")
        if not key:
            raise BadRequest("the key is empty")
        return _bounded("key", key, self._limits.key_bytes_max)

    def value(self) -> bytes:
        """Return the value, which may be empty."""
        return _bounded("value", self._required("value"), self._limits.value_bytes_max)

    def expect(self) -> bytes | None:
        """Return the value that the key must have now, or None if it must be absent."""
        expect = self._bytes("expect")
        if expect is None:
            return None
        return _bounded("expect", expect, self._limits.value_bytes_max)

    def after(self) -> bytes | None:
        """Return the key that a page begins after, or None if it begins with the first one."""
        after = self._bytes("after")
        return _bounded("after", after, self._limits.key_bytes_max) if after else None

    def timeout_s(self) -> float:
        """Return how many seconds from now this request may take."""
        timeout_s = self.decimal("timeout", most=self._limits.timeout_s_max)
        if timeout_s is None:
            return self._limits.timeout_s_default
        if timeout_s == 0.0:
            raise BadRequest("timeout must be more than 0 seconds")
        return timeout_s

    def stale(self) -> bool:
        """Return whether a stale read is enough."""
        return self.choice("consistency", ("linearizable", "stale")) == "stale"

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return which of ``choices`` is given, or None if the parameter is not."""
        text = self.text(name)
        if text is not None and text not in choices:
            raise BadRequest(f"{name} must be {' or '.join(choices)}")
        return text

    def text(self, name: str) -> str | None:
        """Return a short text, or None if it is not given."""
        raw = self._bytes(name)
        if raw is None:
            return None
        try:
            return _bounded(name, raw, self._limits.key_bytes_max).decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{name} is not UTF-8") from None

    def decimal(self, name: str, *, most: float) -> float | None:
        """Return a number from 0 to ``most``, or None if it is not given."""
        raw = self._numeral(name)
        if raw is None:
            return None
        number = float(raw) if _DECIMAL.fullmatch(raw) else -1.0
        if not 0.0 <= number <= most:
            raise BadRequest(f"{name} must be a number from 0 to {most:g}")
        return number

    def whole(self, name: str, *, least: int, most: int | None = None) -> int | None:
        """Return a whole number from ``least`` to ``most``, or None if it is not given."""
        raw = self._numeral(name)
        if raw is None:
            return None
        number = int(raw) if _WHOLE.fullmatch(raw) else least - 1
        if number < least or (most is not None and number > most):
            upwards = "up" if most is None else f"to {most}"
            raise BadRequest(f"{name} must be a whole number from {least} {upwards}")
        return number

    def _required(self, name: str) -> bytes:
        given = self._bytes(name)
        if given is None:
            raise BadRequest(f"the parameter {name} is missing")
        return given

    def _bytes(self, name: str) -> bytes | None:
        given = self._given.get(name)
        if isinstance(given, Number | Nonsense):
            raise BadRequest(f"{name} must be a string in the JSON body")
        return given

    def _numeral(self, name: str) -> bytes | None:
        given = self._given.get(name)
        if isinstance(given, Nonsense):
            raise BadRequest(f"{name} must be a number in the JSON body")
        return given.encode() if isinstance(given, Number) else given


def _unique(pairs: Pairs, source: str) -> dict[str, Given]:
    given = dict(pairs)
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in given if names.count(name) > 1)
        raise BadRequest(f"{source} names the parameter {twice[:40]} twice")
    return given


def _bounded(name: str, given: bytes, bytes_max: int) -> bytes:
    if len(given) > bytes_max:
        raise TooLarge(f"the {name} has {len(given)} bytes, and the limit is {bytes_max}")
    return given
