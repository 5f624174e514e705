"""The parameters of a request, each checked when a handler asks for it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Generator
from typing import Final

from kvpaxos.errors import BadRequest, TooLarge
from kvpaxos.node.http.bodies import Given, Nonsense, Number, Pairs, at_once, read_body, read_form
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.store.limits import IDENTIFIER_BYTES_MAX, OPID_MAX
from kvpaxos.store.requests import Identity, Named, Numbered

WHOLE_MAX: Final = 2**63 - 1
"""The greatest whole number that a parameter can be: what others keep in eight bytes."""

_WHOLE: Final = re.compile(rb"[0-9]{1,19}")
_DECIMAL: Final = re.compile(rb"[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?")


class Parameters:
    """What a request asks for.

    A source (the query string, the body) names a parameter at most once, and the body's
    parameters win over the query's. Names that nobody asks for are ignored. Keys and values may
    be in base64, under a name that says so; but not both ways.

    Each getter raises `BadRequest`, and says which parameter is wrong, if what it should return
    is missing or makes no sense, and `TooLarge` if it is over its limit.
    """

    __slots__ = ("_given", "_limits")

    def __init__(
        self, limits: HttpLimits, *, query: bytes, content_type: bytes = b"", body: bytes = b""
    ) -> None:
        self._limits = limits
        pairs = at_once(read_form(query, parameters_max=limits.parameters_max))
        self._given = _unique(pairs, "the query string")
        if body:
            at_once(self.read_body(content_type, body))

    def read_body(self, content_type: bytes, body: bytes) -> Generator[None]:
        """Take the parameters of ``body`` too, step by step: it may be long."""
        most = self._limits.parameters_max
        pairs = yield from read_body(content_type, body, parameters_max=most)
        self._given |= _unique(pairs, "the body")

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
        expect = self._raw("expect")
        if expect is None:
            return None
        return _bounded("expect", expect, self._limits.value_bytes_max)

    def after(self) -> bytes | None:
        """Return the key that a page begins after, or None if it begins with the first one."""
        after = self._raw("after")
        return _bounded("after", after, self._limits.key_bytes_max) if after else None

    def identity(self) -> Identity | None:
        """Return by what a repetition of this request is known, or None if nothing is given."""
        client = self._identifier("client")
        opid = self.whole("opid", least=0, most=OPID_MAX)
        requestid = self._requestid()
        if client is not None and opid is None:
            raise BadRequest("client is given without opid: give both, or neither")
        if opid is not None and requestid is not None:
            raise BadRequest("opid and requestid are both given: a request has one of them")
        if opid is not None:
            return Numbered(client or b"", opid)
        return None if requestid is None else Named(requestid)

    def timeout_s(self) -> float:
        """Return how many seconds from now this request may take."""
        most = self._limits.timeout_s_max
        timeout_s = self._decimal("timeout")
        if timeout_s is None:
            return self._limits.timeout_s_default
        if not 0.0 < timeout_s <= most:
            raise BadRequest(f"timeout must be a number above 0 and at most {most:g}")
        return timeout_s

    def stale(self) -> bool:
        """Return whether a stale read is enough."""
        stale = self.choice("consistency", ("linearizable", "stale")) == "stale"
        if stale and self.identity() is not None:
            raise BadRequest("a read with opid or requestid is logged, and so never stale")
        return stale

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return which of ``choices`` is given, or None if the parameter is not."""
        text = self.text(name)
        if text is not None and text not in choices:
            raise BadRequest(f"{name} must be {' or '.join(choices)}")
        return text

    def text(self, name: str) -> str | None:
        """Return a short text, or None if it is not given."""
        raw = self._plain(name)
        if raw is None:
            return None
        try:
            return _bounded(name, raw, self._limits.key_bytes_max).decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{name} is not UTF-8") from None

    def decimal(self, name: str, *, most: float) -> float | None:
        """Return a number from 0 to ``most``, or None if it is not given."""
        number = self._decimal(name)
        if number is not None and not 0.0 <= number <= most:
            raise BadRequest(f"{name} must be a number from 0 to {most:g}")
        return number

    def whole(self, name: str, *, least: int, most: int = WHOLE_MAX) -> int | None:
        """Return a whole number from ``least`` to ``most``, or None if it is not given."""
        raw = self._numeral(name)
        if raw is None:
            return None
        number = int(raw) if _WHOLE.fullmatch(raw) else least - 1
        if not least <= number <= most:
            raise BadRequest(f"{name} must be a whole number from {least} to {most}")
        return number

    def _decimal(self, name: str) -> float | None:
        """Return a number that is not negative, or one below 0 for whatever else is given."""
        raw = self._numeral(name)
        if raw is None:
            return None
        return float(raw) if _DECIMAL.fullmatch(raw) else -1.0

    def _requestid(self) -> bytes | None:
        requestid, alias = self._identifier("requestid"), self._identifier("id")
        if alias is None:
            return requestid
        if requestid not in {None, alias}:
            raise BadRequest("id and requestid are the same parameter: give one of them")
        return alias

    def _identifier(self, name: str) -> bytes | None:
        given = self._plain(name)
        if given == b"":
            raise BadRequest(f"the {name} is empty: fill it in, or leave it out")
        return None if given is None else _bounded(name, given, IDENTIFIER_BYTES_MAX)

    def _required(self, name: str) -> bytes:
        given = self._raw(name)
        if given is None:
            raise BadRequest(f"the parameter {name} is missing")
        return given

    def _raw(self, name: str) -> bytes | None:
        """Return bytes, whichever way they are given."""
        plain = self._plain(name)
        encoded = self._plain(f"{name}_base64")
        if encoded is None:
            return plain
        if plain is not None:
            raise BadRequest(f"the parameter {name} is given in base64 too: give it once")
        return _from_base64(name, encoded)

    def _plain(self, name: str) -> bytes | None:
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


def _from_base64(name: str, encoded: bytes) -> bytes:
    try:
        raw = b64decode(encoded, validate=True)
    except ValueError:
        raw = b""
    # One way to write it, and no other: what decodes may still have bits left over.
    if b64encode(raw) != encoded:
        raise BadRequest(
            f"the parameter {name}_base64 is no base64 with padding (in a form or an address its"
            " plus signs must be written as %2B)"
        )
    return raw


def _bounded(name: str, given: bytes, bytes_max: int) -> bytes:
    if len(given) > bytes_max:
        raise TooLarge(f"the {name} has {len(given)} bytes, and the limit is {bytes_max}")
    return given
