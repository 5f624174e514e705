"""Tests of the state machine, most of them on the engine in memory."""
