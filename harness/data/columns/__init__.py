"""Columns of datasets that the catalogue does not list: what they hold by their names, and how their rows are read."""
