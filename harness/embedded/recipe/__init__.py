"""Builds the embedded base model and its data: `python -m harness.embedded.recipe`."""
