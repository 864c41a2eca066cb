"""Makes preference pairs with a model."""
