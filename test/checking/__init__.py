"""Tests of what judges histories."""
