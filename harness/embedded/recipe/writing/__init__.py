"""Writes the text of the embedded base model: questions of every form with their answers, and plain passages."""
