"""Scores in, metrics out: one file a kind of evaluation."""
