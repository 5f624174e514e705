"""The classic scenarios, so that ``trial test.partition`` runs whatever cuts links."""

from __future__ import annotations

from unittest import TestSuite

from twisted.trial.runner import TestLoader


def test_suite() -> TestSuite:
    """Return what trial runs for this module."""
    return TestLoader().loadByNames(["test.labs"], recurse=True)
