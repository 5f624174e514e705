"""Every bound that the HTTP face keeps. ``/kvman/limits`` reports them by these names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kvpaxos.config.cluster import ClusterLimits
from kvpaxos.store.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one node's HTTP face. Reaching one gives a clear error and loses nothing.

    :ivar key_bytes_max: a key.
    :ivar value_bytes_max: a value, also the one that a compare-and-set expects.
    :ivar head_bytes_max: a request line with its headers, and so also a query string.
    :ivar body_bytes_max: a request body. The default holds a compare-and-set of two longest
        values in the most wasteful spelling that JSON has, six bytes for each byte.
    :ivar bodies_bytes_max: the bodies of all requests under way.
    :ivar parameters_max: parameters in one query string or body.
    :ivar timeout_s_default: a request's deadline, in seconds from its arrival, if it names none.
    :ivar timeout_s_max: the longest deadline that a request may name.
    :ivar connections_max: open connections. A new one beyond it takes the place of the longest
        idle one, and is refused if none is idle.
    :ivar idle_s_max: how long a connection may stay silent, take to bring one whole request,
        or leave a reply unread.
    :ivar linger_s_max: how long the rest of a refused request is still read, so that its sender
        sees the refusal and not a broken connection.
    :ivar linger_bytes_max: the same in bytes.
    :ivar dumps_max: dumps and backups under way. Each of them holds a view of the state.
    :ivar page_entries_max: pairs that a dump reads at a time.
    :ivar page_bytes_max: the same in bytes of keys and values, though one pair always fits.
    :ivar page_s_max: how long a client may take to read one page of a dump.
    :ivar delay_s_max: how long a switch of a link may hold back each message.
    :ivar journal_slots_default: slots in a reply of ``/kvman/journal``, if it names no number.
    :ivar journal_slots_max: the greatest such number.
    """

    key_bytes_max: int = KEY_BYTES_MAX
    value_bytes_max: int = VALUE_BYTES_MAX
    head_bytes_max: int = 64 * 1024
    body_bytes_max: int = 13 * MIB
    bodies_bytes_max: int = 128 * MIB
    parameters_max: int = 32
    timeout_s_default: float = 5.0
    timeout_s_max: float = 60.0
    connections_max: int = 512
    idle_s_max: float = 60.0
    linger_s_max: float = 2.0
    linger_bytes_max: int = 32 * MIB
    dumps_max: int = 4
    page_entries_max: int = 1000
    page_bytes_max: int = 64 * 1024
    page_s_max: float = 30.0
    delay_s_max: float = 60.0
    journal_slots_default: int = 100
    journal_slots_max: int = 1000

    @classmethod
    def of(cls, cluster: ClusterLimits) -> HttpLimits:
        """Return the limits of a node whose cluster has chosen its own for values."""
        body_bytes_max = 12 * cluster.value_bytes_max + MIB
        return cls(
            value_bytes_max=cluster.value_bytes_max,
            body_bytes_max=body_bytes_max,
            # The longest one fits, alone; of shorter spellings there may be several.
            bodies_bytes_max=max(cls().bodies_bytes_max, body_bytes_max),
        )
