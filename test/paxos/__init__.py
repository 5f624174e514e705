"""Tests of the consensus core, part by part."""
