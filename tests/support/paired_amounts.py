"""Paired differences of amounts, made from the differences themselves."""

import numpy as np

from reports.comparing.inference import PairedDifference


def amounts(differences, counts=None, **changes) -> PairedDifference:
    """Sums by group whose difference is given; the baseline has none of it."""
    counts = np.ones_like(differences) if counts is None else counts
    return PairedDifference(differences, counts, np.zeros_like(differences), counts, **changes)
