"""The sentence of a headline: made from the facts by the rules below, and from nothing else but names.

    [Of 4 candidates, X was chosen: | Compared with Y,] [over 3 seeds,] TARGET [, but RIVAL] ; ELSEWHERE

A rival, a ruler or control that is not behind, is named only where the target was gained. "That these rows can show"
belongs to everything that was not seen, because it may be there.
"""

from dataclasses import dataclass

from reports.rendering.content.headline.facts import RIVALS, Elsewhere, Facts, Rival, Target
from reports.rendering.content.headline.words import listed, opened, rival_words, shortened

_PREFERENCES: dict[Target, str] = {
    "gain": "it prefers what people preferred more often than chance",
    "loss": "it prefers what people preferred less often than chance",
    "both": "it prefers what people preferred more often than chance on some sets and less often on others",
    "no change seen": "it was not seen to prefer what people preferred more often than chance",
    "cannot tell": "whether it prefers what people preferred cannot be told from these rows",
    "not measured": "whether it prefers what people preferred was not measured",
}
_MEASURES: dict[Target, str] = {
    "gain": "some measures got better, and none of these got worse that these rows can show",
    "loss": "some measures got worse, and none of these got better that these rows can show",
    "both": "some measures got better and some worse",
    "no change seen": "nothing got better or worse that these rows can show",
    "cannot tell": "whether it helped cannot be told from these rows",
    "not measured": "whether it helped was not measured",
}
_EITHER: dict[Target, str] = {
    "changed": "some measures changed, and neither direction of these is better",
    "not finite": "some numbers are not finite (NaN or infinite), so whether it helped cannot be told",
}
_ELSEWHERE: dict[Elsewhere, str] = {
    "gains": "other measures got better, and none got worse that these rows can show",
    "losses": "it got worse elsewhere",
    "both": "elsewhere some measures got better and some worse",
    "everything worse": "everything else got worse",
    "none": "nothing else got worse that these rows can show",
    "cannot tell": "what it cost cannot be told from these rows",
    "not finite": "some numbers elsewhere are not finite (NaN or infinite)",
    "not measured": "nothing else was measured",
}
_RIVALS: dict[Rival, tuple[str, str]] = {
    "ahead": ("but {} does better", "but {} do better"),
    "as well": ("but so does {}", "but so do {}"),
    "not told apart": ("but {} may do as well", "but {} may do as well"),
}
"""Strength -> words for one rival and for two."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names and numbers that a sentence holds."""

    subject: str
    other: str = ""
    """What it is compared with: the baseline, or the other run's candidate."""
    ruler: str = ""
    """The strongest ruler, as it is called in a run."""
    control: str = ""
    """The strongest control."""
    n_candidates: int = 1
    n_seeds: int = 1


def sentence(facts: Facts, names: Names) -> str:
    """Return the answer to whether it helped and what it cost, without more than the facts hold."""
    return opened(f"{_opening(facts, names)}{_answer(facts, names)}") + "."


def _opening(facts: Facts, names: Names) -> str:
    """Return which of several candidates it is about, or what it is compared with, and over how many seeds."""
    subject = shortened(names.subject)
    openings = {
        "only": "",
        "chosen": f"of {names.n_candidates:,} candidates, {subject} was chosen: ",
        "first of several": f"of {names.n_candidates:,} candidates, none chosen, the first is {subject}: ",
    }
    seeds = f"over {names.n_seeds:,} seeds, " if facts.seeds == "recipe" else ""
    if facts.versus == "other run":
        return f"compared with {shortened(names.other)}, {seeds}"
    return openings[facts.choice] + seeds


def _answer(facts: Facts, names: Names) -> str:
    if facts.target == facts.elsewhere == "not measured":
        return "nothing was measured that a claim could be made from"
    if facts.target == facts.elsewhere == "cannot tell":
        return "whether it helped, and what it cost, cannot be told from these rows"
    if facts.target == "loss" and facts.elsewhere == "everything worse":
        return "everything that was measured got worse"
    if facts.aim == "measures" and facts.elsewhere == "not measured":
        return _target(facts) + _rivals(facts, names)
    if facts.target == "not finite" and facts.elsewhere in ("not finite", "cannot tell", "not measured"):
        return _target(facts)
    return f"{_target(facts)}{_rivals(facts, names)}; {_ELSEWHERE[facts.elsewhere]}"


def _target(facts: Facts) -> str:
    own = _PREFERENCES if facts.aim == "preferences" else _MEASURES
    words = (own | _EITHER)[facts.target]
    return words.replace(" than chance", "") if facts.versus == "other run" else words


def _rivals(facts: Facts, names: Names) -> str:
    """Return the strongest of ruler and control, or both if they are as strong, and that neither is ahead if so."""
    if facts.target not in ("gain", "both"):
        return ""
    strength = max(facts.ruler, facts.control, key=RIVALS.index)
    if strength in _RIVALS:
        sides = ((facts.ruler, names.ruler), (facts.control, names.control))
        found = [rival_words(name) for rival, name in sides if rival == strength]
        return ", " + _RIVALS[strength][len(found) - 1].format(listed(found))
    if strength != "behind":
        return ""
    sides = ((facts.ruler, "simple rule"), (facts.control, "control"))
    return f", and beats every {listed([name for rival, name in sides if rival == 'behind'])} tried"
