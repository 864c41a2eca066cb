"""What the pictures know of a run's candidates: their colours, what was swept, and short names for labels."""

from collections.abc import Mapping, Sequence

from reports.comparing.choice import headline_candidate
from reports.records import Run
from reports.rendering.content.display import plain
from reports.rendering.pictures.drawing.palette import N_SERIES

OTHER = "none"
"""Colour of the candidates that have no colour of their own."""
CONTROL = "control: "
"""Start of the names of controls."""
_SEED = ", seed "


def recipe_of(run: Run, candidate: str) -> str:
    """Return what a candidate shares with those that differ from it only in their training seed, or its own name."""
    return run.subject(candidate).recipe or candidate


def recipes_in_order(run: Run) -> list[str]:
    """Return the recipes of a run: the headline's first, then its controls, then the others in their order."""
    names = [subject.name for subject in run.candidates]
    if not names:
        return []
    headline = headline_candidate(run, names)
    controls = [name for name in run.subject(headline).compared_with if name in names and run.subject(name).is_control]
    return list(dict.fromkeys(recipe_of(run, name) for name in (headline, *controls, *names)))


def colours(run: Run) -> dict[str, str]:
    """Map each recipe to its colour in every picture; those beyond the eighth share a grey."""
    return {
        recipe: f"series-{place}" if place < N_SERIES else OTHER for place, recipe in enumerate(recipes_in_order(run))
    }


def swept(name: str) -> dict[str, str]:
    """Return the settings that a name such as "learning_rate=1e-5, beta=0.1, seed 42" states, by key."""
    parts = [part.partition("=") for part in name.split(", ")]
    return {key.strip(): value.strip() for key, sign, value in parts if sign and key.strip() and value.strip()}


def swept_keys(run: Run, names: Sequence[str]) -> list[str]:
    """Return the keys that a run swept over more than one value, most values first.

    Names state their values; the configuration says which keys were swept, where a run has it.
    """
    configured = {str(key).rpartition(".")[2] for key in _sweep(run)}
    values: dict[str, set[str]] = {}
    for name in names:
        for key, value in swept(name).items():
            if not configured or key in configured:
                values.setdefault(key, set()).add(value)
    several = [key for key, found in values.items() if len(found) > 1]
    return sorted(several, key=lambda key: -len(values[key]))


def _sweep(run: Run) -> Mapping[str, object]:
    sweep = run.config.get("sweep")
    return sweep if isinstance(sweep, Mapping) else {}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Map names to labels: "1e-5" for "learning_rate=1e-5" where all name that key, and controls without that word.

    A name keeps what tells it apart: if two labels would be equal, all names stay whole.
    """
    plain_names = [name for name in names if not name.startswith(CONTROL)]
    of_each = [swept(name) for name in plain_names]
    is_sweep = len(of_each) > 1 and all(each and each.keys() == of_each[0].keys() for each in of_each)
    labels = {}
    for name in names:
        shown = name.removeprefix(CONTROL)
        if is_sweep and name in plain_names:
            _, is_seed, seed = name.rpartition(_SEED)
            shown = ", ".join(swept(name.rpartition(_SEED)[0] if is_seed else name).values())
            shown += f"{_SEED}{seed}" if is_seed else ""
        labels[name] = plain(shown) or plain(name)
    return labels if len(set(labels.values())) == len(labels) else {name: plain(name) for name in names}
