"""Tests of the engines, and of the state machine on both of them."""
