"""The sentence of a headline: made from the facts by the rules below, and from nothing else but names.

    [Of 4 candidates, X was chosen: | Compared with Y,] [over 3 seeds,] TARGET [, but RIVAL] ; ELSEWHERE [: LOSSES]

Of what got worse the largest amounts are told, and fewer refusals of harmful prompts where nothing else got worse. A
rival, a ruler or control that is not behind, is named only where the target was gained. "That these rows can show"
belongs to everything that was not seen, because it may be there.
"""

from dataclasses import dataclass, replace

from reports.rendering.content.headline.facts import RIVALS, Elsewhere, Facts, Rival, Target
from reports.rendering.content.headline.words import listed, opened, rival_words, shortened

LONGEST_SENTENCE = 300
"""Characters from which it is told without amounts."""
_PREFERENCES: dict[Target, str] = {
    "gain": "it favours the preferred answers more often than chance",
    "loss": "it favours the preferred answers less often than chance",
    "both": "it favours the preferred answers more often than chance on some sets and less often on others",
    "no change seen": "it was not seen to favour the preferred answers more often than chance",
    "cannot tell": "whether it favours the preferred answers cannot be told from these rows",
    "not measured": "whether it favours the preferred answers was not measured",
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
    "gains": "{others} got better, and none got worse that these rows can show",
    "losses": "it got worse elsewhere",
    "both": "elsewhere {some} got better and some worse",
    "everything worse": "everything else got worse",
    "none": "nothing else got worse that these rows can show",
    "cannot tell": "what it cost cannot be told from these rows",
    "not finite": "some numbers elsewhere are not finite (NaN or infinite)",
    "not measured": "nothing else was measured",
}
_SOME_WORSE = " and some worse"
_LOSSES: tuple[Elsewhere, ...] = ("losses", "both", "everything worse")
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
    losses: str = ""
    """How far what got worse moved at most, of the other measures: "2 of 4 perplexities rose, by up to 12.7 %"."""
    target_losses: str = ""
    """The same of what it is judged by, where these are measures and not preferences."""
    all_losses: str = ""
    """The same of everything."""
    n_gains: int = 2
    """Other measures that got better."""
    n_candidates: int = 1
    n_seeds: int = 1


def sentence(facts: Facts, names: Names) -> str:
    """Return the answer to whether it helped and what it cost, without more than the facts hold.

    A sentence that long names make too long is told without the amounts, which the lines below it have too.
    """
    said = _sentence(facts, names)
    if len(said) <= LONGEST_SENTENCE:
        return said
    return _sentence(facts, replace(names, losses="", target_losses="", all_losses=""))


def _sentence(facts: Facts, names: Names) -> str:
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
    if facts.target == "loss" and facts.elsewhere == "everything worse":
        own = f"{_target(facts, names)}, {names.losses}" if facts.aim == "preferences" else names.all_losses
        return _with("everything that was measured got worse", own if names.losses else "")
    return f"{_helped_and_cost(facts, names)}{_refused(facts)}"


def _helped_and_cost(facts: Facts, names: Names) -> str:
    if facts.target == facts.elsewhere == "not measured":
        return "nothing was measured that a claim could be made from"
    if facts.target == facts.elsewhere == "cannot tell":
        return "whether it helped, and what it cost, cannot be told from these rows"
    target = _target(facts, names)
    if facts.aim == "measures" and facts.elsewhere == "not measured":
        return target + _rivals(facts, names)
    if facts.target == "not finite" and facts.elsewhere in ("not finite", "cannot tell", "not measured"):
        return target
    return f"{target}{_rivals(facts, names)}; {_elsewhere(facts, names)}"


def _target(facts: Facts, names: Names) -> str:
    own = _PREFERENCES if facts.aim == "preferences" else _MEASURES
    words = (own | _EITHER)[facts.target]
    if facts.aim == "measures" and facts.target in ("loss", "both"):
        words = _with(words, names.target_losses)
    return words.replace(" than chance", "") if facts.versus == "other run" else words


def _elsewhere(facts: Facts, names: Names) -> str:
    is_one = names.n_gains == 1
    words = _ELSEWHERE[facts.elsewhere].format(
        others="one other measure" if is_one else "other measures", some="one measure" if is_one else "some measures"
    )
    return _with(words, names.losses if facts.elsewhere in _LOSSES else "")


def _with(words: str, losses: str) -> str:
    """Return the words with the losses behind them: "some measures got better, but perplexity rose by 5 %"."""
    if not losses:
        return words
    return f"{words.removesuffix(_SOME_WORSE)}{', but ' if words.endswith(_SOME_WORSE) else ': '}{losses}"


def _refused(facts: Facts) -> str:
    """Return that it refuses fewer harmful prompts, where the sentence has no other cost that stands for it."""
    return "" if facts.refused == "not fewer" or facts.elsewhere in _LOSSES else "; it refuses fewer harmful prompts"


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
