"""Keeps pytest away: what is in here runs on trial's reactor, not on pytest-twisted's."""

collect_ignore_glob = ["test_*.py"]
