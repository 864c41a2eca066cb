"""The kinds of evaluation, a module each."""
