"""Checks of the embedded base model before it ships: do its answers fit, and does it know more than word counts."""
