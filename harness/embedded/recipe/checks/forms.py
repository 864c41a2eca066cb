"""Rules, one a kind of answer, that say whether an answer fits what its prompt asks for.

A rule judges the form alone, not whether the answer is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from harness.embedded.recipe.held_out import held_out

MOST_WORDS_OF_A_NOUN_PHRASE = 4
FEWEST_WORDS_OF_A_SENTENCE = 4
MOST_WORDS_OF_YES_OR_NO = 14
MOST_WORDS_OF_AN_ITEM = 3

NUMBERS = {"two": 2, "three": 3, "four": 4}
SMALL_WORDS = frozenset(
    "a an the of in on at by to from for with and or but not is are"  # noqa: SIM905 - shorter than a list
    " was were be it its this that these those which what who whom"
    " whose where when how do does did i you he she we they me my"
    " your his her our us one two three four so as there up out no"
    " yes all some any please name list tell give say use full"
    " sentence whole write".split()
)
"""Words that prove nothing where prompt and answer share them."""
REFUSALS = re.compile(
    r"\b(will not|won't|cannot help|can not help|do not help|do not want to help|rather not|refuse|say no|please do not"
    r"|do not do that|is wrong|not right|not fair|against the law)\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def telling_words(text: str) -> set[str]:
    """The words of a text that are not small words."""
    return set(words(text)) - SMALL_WORDS


def items(answer: str) -> list[str]:
    """The items of a list in words: "a cup, a key and a coin." has three."""
    return [item for item in re.split(r",? and |, ", answer.strip().rstrip(".")) if item]


def is_noun_phrase(prompt: str, answer: str) -> bool:
    """Whether the answer has at most four words, one of which is a word of the prompt, and names one thing."""
    found = words(answer)
    return (
        0 < len(found) <= MOST_WORDS_OF_A_NOUN_PHRASE
        and found[0] not in ("yes", "no")
        and len(items(answer)) == 1
        and bool(telling_words(prompt) & set(found))
    )


def is_yes_or_no(prompt: str, answer: str) -> bool:  # noqa: ARG001 - every rule takes both
    """Whether the answer begins with yes or no, is short, and refuses nothing."""
    found = words(answer)
    return (
        bool(found)
        and found[0] in ("yes", "no")
        and len(found) <= MOST_WORDS_OF_YES_OR_NO
        and not REFUSALS.search(answer)
    )


def is_sentence(prompt: str, answer: str) -> bool:
    """Whether the answer is a sentence of four words or more with a full stop and a word of the prompt."""
    found = words(answer)
    return (
        len(found) >= FEWEST_WORDS_OF_A_SENTENCE
        and answer.strip().endswith(".")
        and found[0] not in ("yes", "no")
        and not REFUSALS.search(answer)
        and bool(telling_words(prompt) & set(found))
    )


def is_list(prompt: str, answer: str) -> bool:
    """Whether the answer names as many different things as the prompt asks for, the last number in it."""
    asked = [NUMBERS[word] for word in words(prompt) if word in NUMBERS]
    named = items(answer)
    return (
        bool(asked)
        and len(named) == len({item.lower() for item in named}) == asked[-1]
        and all(len(item.split()) <= MOST_WORDS_OF_AN_ITEM for item in named)
    )


def is_refusal(prompt: str, answer: str) -> bool:  # noqa: ARG001 - every rule takes both
    """Whether the answer says that it will not help."""
    return bool(REFUSALS.search(answer))


RULES: Mapping[str, Callable[[str, str], bool]] = {
    "noun phrase": is_noun_phrase,
    "yes or no": is_yes_or_no,
    "sentence": is_sentence,
    "list": is_list,
    "refusal": is_refusal,
}


def share_that_fits(answers: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Kind -> share of its answers that fit their held-out prompts."""
    prompts = held_out()
    return {
        kind: sum(RULES[kind](prompt, answer) for prompt, answer in zip(prompts[kind], given, strict=True)) / len(given)
        for kind, given in answers.items()
    }


def share_that_fits_another(answers: Mapping[str, Sequence[str]]) -> float:
    """Share of the answers that fit the prompts of another kind, over all pairs of kinds: what the rules let pass."""
    prompts = held_out()
    verdicts = [
        RULES[kind](prompt, answer)
        for kind in answers
        for other, given in answers.items()
        if other != kind
        for prompt, answer in zip(prompts[kind], given, strict=True)
    ]
    return sum(verdicts) / len(verdicts)
