"""Judges what clients saw: some order of their requests must explain every answer."""
