"""The kinds of evaluation, one file each: scores in, metrics out."""
