"""Subjects x evaluations in, a run out."""
