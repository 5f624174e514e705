"""Tests of the HTTP face, most of them over a connection in memory."""
