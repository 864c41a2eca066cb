"""Formats of files whose reading needs more than a few lines."""
