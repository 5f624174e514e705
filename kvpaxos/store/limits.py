"""How large the things in the state may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEY_BYTES_MAX: Final = 4 * 1024
"""A longer key is refused, by the faces and once more when its command is executed."""

VALUE_BYTES_MAX: Final = 1024 * 1024
"""A longer value is refused likewise, unless the cluster was given another limit."""

GROUP_MAX: Final = 2**32 - 1
"""Group ids go from 0 to this."""

IDENTIFIER_BYTES_MAX: Final = 128
"""A client's name, or a request id, has at most so many bytes."""

OPID_MAX: Final = 2**63 - 1
"""Opids go from 0 to this."""


@dataclass(frozen=True, slots=True)
class IdentityLimits:
    """How many requests with an identity are remembered: what is over goes, least used first.

    They belong to the format of the state: replicas with other limits would execute other things.

    :ivar client_sessions_max: how many clients that number their requests.
    :ivar client_sessions_bytes_max: how many bytes their names and answers may have together.
    :ivar request_ids_max: how many request ids.
    :ivar request_ids_bytes_max: how many bytes they and their answers may have together.
    """

    client_sessions_max: int = 10_000
    client_sessions_bytes_max: int = 64 * 1024 * 1024
    request_ids_max: int = 10_000
    request_ids_bytes_max: int = 64 * 1024 * 1024
