"""A recipe in, an adapter folder out."""
