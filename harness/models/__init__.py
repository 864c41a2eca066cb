"""Load a base model and attach adapters to it without changing its weights."""
