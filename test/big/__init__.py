"""What takes long, much disk or both, and is run by hand."""
