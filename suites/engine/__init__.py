"""The scoring engine: requests in, log-probabilities out."""
