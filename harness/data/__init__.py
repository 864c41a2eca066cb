"""Rows of the hub, of local files or of the package in; pairs, rated answers, examples and questions out."""
