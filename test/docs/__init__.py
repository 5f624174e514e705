"""Docs that are held to the code, and examples that run."""
