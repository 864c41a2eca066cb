"""The embedded default: a tiny base model, its data, its lm-eval tasks, and the recipe that built them."""
