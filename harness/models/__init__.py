"""One set of weights, with adapters beside it."""
