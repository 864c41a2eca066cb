"""Comparisons in, reports out."""
