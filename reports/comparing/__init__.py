"""Subjects paired by example: differences, intervals, gates."""
