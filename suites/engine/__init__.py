"""Requests in, log-probabilities out."""
