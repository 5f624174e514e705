"""Tests of the bytes on the wire and in the journal."""
