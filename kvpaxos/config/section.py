"""Typed reading of one table of the settings, with errors that say what to mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from kvpaxos.errors import ConfigError

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_SHOWN_MAX: Final = 60
"""Characters of a wrong value that an error message repeats."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a settings file.

    Every value may be a string, as the course's files have them.

    :ivar source: the file, as the reader knows it.
    :ivar path: where in the file the table stands, such as ``nodes.n01.``; empty for the whole.
    """

    source: str
    path: str
    table: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return key in self.table

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def text(self, key: str) -> str:
        """Return the text at ``key``, which must be there and must not be empty."""
        value = self._value(key)
        if not isinstance(value, str):
            raise self.wrong(key, f"is {_shown(value)}", 'put text between quotes: "…"')
        if not value.strip():
            raise self.wrong(key, "is empty", "give it a value or leave it out")
        return value.strip()

    def number(self, key: str, low: int, high: int) -> int:
        """Return the whole number at ``key``, which must lie between ``low`` and ``high``."""
        value = self._value(key)
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            # Digits beyond these make it too large in any case, and int() would mind them.
            value = int(value.strip()[:20])
        if type(value) is int and low <= value <= high:
            return value
        raise self.wrong(
            key, f"is {_shown(self._value(key))}", f"make it a whole number from {low} to {high}"
        )

    def flag(self, key: str) -> bool:
        """Return the truth value at ``key``."""
        value = self._value(key)
        word = str(value).lower().strip() if isinstance(value, str | bool | int) else ""
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise self.wrong(key, f"is {_shown(value)}", "make it true or false")

    def choice(self, key: str, choices: Iterable[str]) -> str:
        """Return the text at ``key``, which must be one of ``choices``."""
        text = self.text(key)
        known = tuple(choices)
        if text in known:
            return text
        raise self.wrong(key, f"is {_shown(text)}", f"make it {_one_of(known)}")

    def section(self, key: str) -> Section:
        """Return the table at ``key``."""
        value = self._value(key)
        if not isinstance(value, Mapping):
            raise self.wrong(key, f"is {_shown(value)}", "make it a table: {…}")
        return Section(self.source, f"{self.path}{key}.", value)

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raise ConfigError if there is a key that is not ``known``."""
        names = tuple(known)
        for key in self.table:
            if key not in names:
                close = get_close_matches(key, names, n=1)
                mend = f'perhaps "{close[0]}" is meant' if close else "remove it"
                raise self.wrong(key, "is no setting of kvpaxos", mend)

    def wrong(self, key: str, problem: str, mend: str) -> ConfigError:
        """Return the error that says what is wrong with ``key`` and how to mend it."""
        return ConfigError(f'{self.source}: "{self.path}{key}" {problem}; {mend}.')

    def _value(self, key: str) -> object:
        if key in self.table:
            return self.table[key]
        raise self.wrong(key, "is missing", "add it")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _one_of(choices: tuple[str, ...]) -> str:
    quoted = [f'"{choice}"' for choice in choices]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
