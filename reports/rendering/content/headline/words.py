"""Words for a headline: names that fit into it, and what rulers and controls are called in a sentence."""

from collections.abc import Sequence

from reports.rendering.content.display import plain

LONGEST_NAME = 28
"""Characters of the name of a subject."""
_RULERS = {
    "bag of words": "counting words",
    "longest wins": "picking the longest answer",
    "shortest wins": "picking the shortest answer",
}
_CONTROLS = {
    "control: sft on chosen": "fine-tuning on the chosen answers",
    "control: shuffled pairs": "training on shuffled pairs",
}
"""How the name of a control begins -> what it is; the rest tells whose control it is."""
_TERMS = {"bag of words": " (a bag of words)", "control: sft on chosen": " (SFT)"}
"""How a name begins -> the term of the field for it."""


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Return the name on one line, cut to so many characters."""
    name = plain(name)
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}\u2026"


def rival_words(name: str) -> str:
    """Return what a ruler or control is called within a sentence; one of another name is quoted."""
    for start, words in (_RULERS | _CONTROLS).items():
        if name.startswith(start):
            return words
    return f"\u201c{shortened(name)}\u201d"


def rival_term(name: str) -> str:
    """Return the same with the term of the field behind it, where there is one."""
    return rival_words(name) + next((term for start, term in _TERMS.items() if name.startswith(start)), "")


def opened(words: str) -> str:
    """Return the words with a capital at the beginning."""
    return words[:1].upper() + words[1:]


def listed(words: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
