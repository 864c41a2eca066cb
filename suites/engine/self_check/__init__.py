"""The self-check: what could break a faster path, and whether it did."""
