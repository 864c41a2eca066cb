"""Turns rows from the hub, local files or the package into pairs, rated answers, examples and questions."""
