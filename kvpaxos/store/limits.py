"""How large the things in the state may be."""

from __future__ import annotations

from typing import Final

KEY_BYTES_MAX: Final = 4 * 1024
"""A longer key is refused, by the faces and once more when its command is executed."""

VALUE_BYTES_MAX: Final = 1024 * 1024
"""A longer value is refused likewise, unless the cluster was given another limit."""

GROUP_MAX: Final = 2**32 - 1
"""Group ids go from 0 to this."""
