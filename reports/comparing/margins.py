"""What a gate allows, in the metric's own unit."""

import math

from reports.records import Gate, Metric


def metric_key(metric: Metric) -> str:
    """Return the name by which a gate refers to the metric, such as "truthfulness/perplexity"."""
    return f"{metric.evaluation}/{metric.name}"


def allowed_loss(gate: Gate, metric: Metric, baseline_value: float) -> float:
    """Return the gate's largest loss in the metric's own unit; a relative one is a share of the baseline value."""
    largest = gate.largest_loss
    assert largest is not None
    if not gate.relative:
        return largest
    if metric.display != "exp":
        return largest * abs(baseline_value)
    if not metric.higher_is_better:
        return math.log1p(largest)
    return -math.log1p(-largest) if largest < 1 else math.inf


def loss(difference: float, metric: Metric) -> float:
    """Return how much is lost; any change is a loss if neither direction is better."""
    if metric.higher_is_better is None:
        return abs(difference)
    return -difference if metric.higher_is_better else difference
