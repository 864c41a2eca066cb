"""lm-eval's tasks on the engine."""
