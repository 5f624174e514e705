"""The version of kvpaxos, in the one place where it is written."""

from typing import Final

VERSION: Final = "0.1.0"
"""As in the package's metadata, which ``setup.py`` takes from here."""
