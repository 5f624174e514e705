"""Tests of the client: its rules by tables, the whole of it against fake and real clusters."""
