"""Tests of the fake cluster, which is there for the tests of others."""
