"""Complaints about peers and strangers: all are counted, each is logged once."""

from __future__ import annotations

from collections import Counter
from typing import Final

from twisted.logger import Logger

COMPLAINTS_MAX: Final = 100
"""How many different complaints are logged. Others are counted only."""


class Complaints:
    """Counts complaints by kind, and logs each when it is first heard.

    :ivar counts: how often each kind was heard.
    :ivar last: what was heard last about each member or stranger, and is not settled.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.last: dict[str, str] = {}
        self._logged: dict[str, set[str]] = {}

    def hear(self, about: str, kind: str, sentence: str) -> None:
        """Count a complaint, and log it unless it was logged before.

        :param about: a member, or any word for those who are none.
        :param kind: one of a few fixed words.
        """
        self.counts[kind] += 1
        self.last[about] = sentence
        logged = self._logged.setdefault(about, set())
        # Refusals state causes. What else is wrong differs in numbers only, from one attempt
        # to the next; and strangers can make up any number of causes.
        key = sentence if kind == "refused" else kind
        if key in logged or sum(map(len, self._logged.values())) >= COMPLAINTS_MAX:
            return
        logged.add(key)
        self._log.warn("{about}: {sentence}", about=about, sentence=sentence, kind=kind)

    def settle(self, about: str) -> None:
        """Forget what was logged about ``about``: all is well, and news would be news again."""
        self.last.pop(about, None)
        self._logged.pop(about, None)
