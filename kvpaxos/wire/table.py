"""Tables of kinds: how values become MessagePack arrays ``[group, tag, field, ...]`` and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from msgpack import packb, unpackb

from kvpaxos.errors import WireError
from kvpaxos.paxos.ballot import NodeId

ITEMS_MAX: Final = 2**16
"""The most items in one array: commands in a batch, batches or votes in a message."""

COUNT_MAX: Final = 2**62
"""No slot, sequence, life or other counter gets here honestly; the wire refuses more."""

Check = Callable[[Any], Any]
"""Turns an unpacked field into what it stands for, or raises `WireError`."""

V = TypeVar("V")
_Getter = Callable[[Any], tuple[Any, ...]]


class Kind(NamedTuple):
    """How the values of one class are packed.

    :ivar make: the class, a dataclass.
    :ivar checks: one for each of its fields, in order.
    """

    tag: int
    make: type[Any]
    checks: tuple[Check, ...]


class Table(Generic[V]):
    """All the kinds that can stand in one place.

    :ivar kinds: what it was made of.
    """

    def __init__(self, kinds: Sequence[Kind], *, parts: Sequence[type[Any]] = ()) -> None:
        """Make a table.

        :param parts: dataclasses that stand inside the values of ``kinds``. (Tuples need
            not be told of: they pack as they are.)
        """
        self.kinds = tuple(kinds)
        self._by_tag = {kind.tag: kind for kind in kinds}
        self._by_class = {kind.make: (kind.tag, _getter(kind.make)) for kind in kinds}
        self._parts: dict[type[Any], _Getter] = {make: _getter(make) for make in parts}

    def pack(self, group: int, value: V) -> bytes:
        """Return the bytes that `unpack` turns back into ``group`` and ``value``."""
        tag, fields = self._by_class[type(value)]
        return packb((group, tag, *fields(value)), default=self._part)

    def unpack(self, data: bytes | bytearray) -> tuple[int, V]:
        """Return the group and the value in ``data``.

        :raises WireError: if there are none. Nothing else escapes, whatever the bytes.
        """
        array = unpack(data)
        if len(array) < 2:  # noqa: PLR2004 -- group and tag
            raise WireError(f"an array of {len(array)} holds no group and tag")
        group, tag, *fields = array
        kind = self._by_tag.get(tag) if type(tag) is int else None
        if kind is None:
            raise unexpected("tag", tag)
        return count(group), cast(V, made(kind.make, kind.checks, fields))

    def _part(self, value: object) -> tuple[Any, ...]:
        """List the fields of a dataclass inside a value: MessagePack does not know it."""
        return self._parts[type(value)](value)


def unpack(data: bytes | bytearray) -> list[Any]:
    """Return the MessagePack array in ``data``. It has no maps and no extensions in it.

    :raises WireError: if there is no such array. Nothing else escapes, whatever the bytes.
    """
    try:
        # An announced array is allocated before its items are looked for: a few nested
        # lies would take gigabytes, if there were no limit.
        array = unpackb(data, max_array_len=ITEMS_MAX, max_map_len=0, max_ext_len=0)
    except Exception as error:
        # msgpack raises ValueError for most, and others in rare cases.
        raise WireError(f"not MessagePack: {error!s:.80}") from error
    return items(array)


def made(make: type[V], checks: tuple[Check, ...], fields: list[Any]) -> V:
    """Return the value of class ``make`` whose ``fields`` pass ``checks``, one each."""
    if len(fields) != len(checks):
        raise WireError(f"{make.__name__} of {len(fields)} fields, not {len(checks)}")
    return make(*[check(field) for check, field in zip(checks, fields, strict=True)])


def count(field: object) -> int:
    """Check a number that counts something: a slot, a sequence. From 0 to `COUNT_MAX`."""
    # Not isinstance: True is an int too.
    if type(field) is int and 0 <= field <= COUNT_MAX:
        return field
    raise unexpected("count", field)


def text(field: object) -> str:
    """Check a string."""
    if type(field) is str:
        return field
    raise unexpected("text", field)


def raw(field: object) -> bytes:
    """Check bytes."""
    if type(field) is bytes:
        return field
    raise unexpected("bytes", field)


def flag(field: object) -> bool:
    """Check a truth value."""
    if type(field) is bool:
        return field
    raise unexpected("flag", field)


def items(field: object) -> list[Any]:
    """Check that there is an array, of whatever."""
    if type(field) is list:
        return field
    raise unexpected("array", field)


def nodes(field: object) -> tuple[NodeId, ...]:
    """Check an array of nodes."""
    return tuple(NodeId(text(item)) for item in items(field))


def unexpected(what: str, field: object) -> WireError:
    """Return the error to raise if ``field`` stands where ``what`` should."""
    # Its type, not its text: a field may be megabytes long, or a thousand levels deep.
    found = str(field) if type(field) is int else type(field).__name__
    return WireError(f"expected {what}, found {found}")


def _getter(make: type[Any]) -> _Getter:
    """Return a function that lists the fields of a value of class ``make``."""
    names = [field.name for field in fields_of(make)]
    getter = attrgetter(*names)
    if len(names) > 1:
        return cast(_Getter, getter)
    return lambda value: (getter(value),)
