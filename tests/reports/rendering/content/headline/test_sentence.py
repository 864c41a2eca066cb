"""The sentence of a headline follows from the facts alone, over every combination of them."""

from dataclasses import replace
from itertools import islice, product
from typing import Any, get_args, get_type_hints

import pytest

from reports.rendering.content.headline.facts import Facts
from reports.rendering.content.headline.sentence import LONGEST_SENTENCE, Names, sentence

NAMES = Names("x" * 90, ruler="bag of words", control="control: sft on chosen", n_candidates=20, n_seeds=3)
LOST = {"losses": "accuracy fell by 6.0 points", "target_losses": "a rose", "all_losses": "everything rose"}
UNSEEN = "that these rows can show"
NOTHING_ELSE = f"nothing else got worse {UNSEEN}."
GAIN = Facts(
    versus="baseline",
    aim="preferences",
    target="gain",
    elsewhere="none",
    ruler="none",
    control="none",
    seeds="one",
    choice="only",
)
WON = "favours the preferred answers more often than chance"
WITHOUT_RISE = ("no change seen", "loss", "cannot tell", "not finite", "not measured", "changed")


@pytest.fixture(
    scope="module",
    params=[pytest.param(35, id="a part"), pytest.param(1, id="all", marks=pytest.mark.slow)],
)
def all_facts(request: pytest.FixtureRequest) -> list[Facts]:
    """Every combination of facts in the slow tests; in the fast ones every 35th, among them all of any three facts.

    5 and 7 divide none of the numbers of values, so that all values come up as often.
    """
    closed = {name: get_args(hint) for name, hint in get_type_hints(Facts).items()}
    chosen = islice(product(*closed.values()), None, None, request.param)
    return [Facts(**dict(zip(closed, values, strict=True))) for values in chosen]


@pytest.fixture(scope="module")
def all_sentences(all_facts: list[Facts]) -> list[tuple[Facts, str]]:
    """The combinations of facts, and the sentence of each."""
    return [(facts, sentence(facts, NAMES)) for facts in all_facts]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"It {WON}; {NOTHING_ELSE}"),
        (
            {"ruler": "as well"},
            f"It {WON}, but so does counting words; {NOTHING_ELSE}",
        ),
        (
            {"ruler": "ahead", "elsewhere": "losses"},
            f"It {WON}, but counting words does better; it got worse elsewhere.",
        ),
        (
            {"ruler": "not told apart", "elsewhere": "gains"},
            (
                f"It {WON}, but counting words may do as well; other measures got better, and none got "
                "worse that these rows can show."
            ),
        ),
        (
            {"ruler": "behind", "control": "behind"},
            f"It {WON}, and beats every simple rule and control tried; {NOTHING_ELSE}",
        ),
        (
            {"ruler": "as well", "control": "as well", "elsewhere": "both"},
            (
                f"It {WON}, but so do counting words and fine-tuning on the chosen answers; elsewhere some "
                "measures got better and some worse."
            ),
        ),
        (
            {"ruler": "behind", "control": "as well", "elsewhere": "cannot tell"},
            f"It {WON}, but so does fine-tuning on the chosen answers; what it cost cannot be told from these rows.",
        ),
        ({"target": "loss", "elsewhere": "everything worse"}, "Everything that was measured got worse."),
        (
            {"target": "loss", "elsewhere": "gains"},
            (
                "It favours the preferred answers less often than chance; other measures got better, and none got "
                "worse that these rows can show."
            ),
        ),
        (
            {"target": "no change seen", "ruler": "ahead"},
            f"It was not seen to favour the preferred answers more often than chance; {NOTHING_ELSE}",
        ),
        (
            {"target": "cannot tell", "elsewhere": "cannot tell"},
            "Whether it helped, and what it cost, cannot be told from these rows.",
        ),
        (
            {"target": "not finite", "elsewhere": "not finite"},
            "Some numbers are not finite (NaN or infinite), so whether it helped cannot be told.",
        ),
        (
            {"target": "not measured", "elsewhere": "not measured"},
            "Nothing was measured that a claim could be made from.",
        ),
        (
            {"aim": "measures", "elsewhere": "not measured"},
            "Some measures got better, and none of these got worse that these rows can show.",
        ),
        (
            {"choice": "chosen", "seeds": "recipe"},
            f"Of 20 candidates, {'x' * 27}… was chosen: over 3 seeds, it {WON}; {NOTHING_ELSE}",
        ),
        (
            {"versus": "other run", "elsewhere": "losses"},
            f"Compared with {'y' * 27}…, it favours the preferred answers more often; it got worse elsewhere.",
        ),
    ],
)
def test_facts_make_this_sentence(changes: dict[str, str], expected: str) -> None:
    """The important combinations, word by word."""
    assert sentence(replace(GAIN, **changes), replace(NAMES, other="y" * 90)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"elsewhere": "losses"}, f"It {WON}; it got worse elsewhere: accuracy fell by 6.0 points."),
        (
            {"elsewhere": "both"},
            f"It {WON}; elsewhere some measures got better, but accuracy fell by 6.0 points.",
        ),
        (
            {"target": "loss", "elsewhere": "everything worse", "aim": "measures"},
            "Everything that was measured got worse: everything rose.",
        ),
        (
            {"elsewhere": "both", "n_gains": 1},
            f"It {WON}; elsewhere one measure got better, but accuracy fell by 6.0 points.",
        ),
        ({"elsewhere": "everything worse"}, f"It {WON}; everything else got worse: accuracy fell by 6.0 points."),
        (
            {"target": "loss", "elsewhere": "everything worse"},
            (
                "Everything that was measured got worse: it favours the preferred answers less often than chance, "
                "accuracy fell by 6.0 points."
            ),
        ),
        (
            {"target": "both", "aim": "measures", "elsewhere": "not measured"},
            "Some measures got better, but a rose.",
        ),
        ({"refused": "fewer"}, f"It {WON}; {NOTHING_ELSE[:-1]}; it refuses fewer harmful prompts."),
        (
            {"refused": "fewer", "elsewhere": "losses"},
            f"It {WON}; it got worse elsewhere: accuracy fell by 6.0 points.",
        ),
    ],
)
def test_a_cost_is_told_with_its_size(changes: dict[str, Any], expected: str) -> None:
    """The largest loss of each kind, or the refusals where nothing else stands for a cost."""
    names = replace(NAMES, **LOST, n_gains=changes.get("n_gains", 2))
    facts = {name: value for name, value in changes.items() if name != "n_gains"}
    assert sentence(replace(GAIN, **facts), names) == expected


def test_every_loss_elsewhere_has_its_size_unless_names_are_too_long(all_facts: list[Facts]) -> None:
    """Over all combinations of facts: with short names always, with the longest only where there is room."""
    short = replace(NAMES, subject="a", other="b", **LOST)
    longest = replace(short, subject="x" * 90, losses="perplexity rose by up to 99.9 % " * 9)
    for facts in all_facts:
        amount = LOST["losses"]
        if facts.target == "loss" and facts.elsewhere == "everything worse" and facts.aim == "measures":
            amount = LOST["all_losses"]
        is_lost = facts.elsewhere in ("losses", "both", "everything worse")
        text = sentence(facts, short)
        assert is_lost or amount not in text
        assert amount in text or not is_lost or len(text) + len(f", but {amount}") > LONGEST_SENTENCE
        assert len(sentence(facts, longest)) <= 370


def test_fewer_refusals_are_in_the_sentence_or_beside_other_losses(all_sentences: list[tuple[Facts, str]]) -> None:
    """So that no sentence of a run that refuses less says nothing of a cost."""
    for facts, text in all_sentences:
        is_lost = facts.elsewhere in ("losses", "both", "everything worse")
        assert ("refuses fewer" in text) == (facts.refused == "fewer" and not is_lost)


def test_it_is_one_short_sentence(all_sentences: list[tuple[Facts, str]]) -> None:
    """One capital, one full stop, and short enough for the lines below it, whatever the facts."""
    assert len({text for _, text in all_sentences}) > 500
    for _, text in all_sentences:
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.count(". ") == 0
        assert len(text) <= 370


def test_nothing_helped_without_a_gain(all_sentences: list[tuple[Facts, str]]) -> None:
    """No rise of preferences is claimed, and no rival named, unless the target was gained."""
    for facts, text in all_sentences:
        if facts.target in WITHOUT_RISE:
            assert WON not in text.replace("not seen to prefer", "")
            assert not any(words in text for words in ("so do", "may do as well", "does better", "beats"))
            assert "helped" not in text or "whether it helped" in text.lower()
        elif facts.aim == "preferences" and facts.versus == "baseline":
            assert WON in text


def test_no_cost_is_hidden(all_sentences: list[tuple[Facts, str]]) -> None:
    """With a loss the sentence says worse, and never that nothing or none got worse; nor is a cost ever called none."""
    for facts, text in all_sentences:
        assert "no cost" not in text
        assert "unchanged" not in text
        if facts.elsewhere in ("losses", "both", "everything worse"):
            assert "worse" in text
            assert "nothing else got worse" not in text
            assert "and none got worse" not in text
        if facts.elsewhere in ("cannot tell", "not finite", "not measured"):
            assert "nothing else got worse" not in text
        if facts.target in ("loss", "both") and facts.aim == "measures":
            assert "worse" in text


def test_what_was_not_seen_is_never_said_not_to_be(all_sentences: list[tuple[Facts, str]]) -> None:
    """Each "nothing" and "none" has the rows that cannot show it beside it, but for what was not even measured."""
    for _, text in all_sentences:
        for part in text.split("; "):
            if "nothing" in part.lower() or "none of these" in part or "none got" in part:
                assert "that these rows can show" in part or "measured" in part


def test_a_rival_as_good_is_always_named(all_sentences: list[tuple[Facts, str]]) -> None:
    """Whichever of ruler and control is stronger; both if they are as strong."""
    for facts, text in all_sentences:
        if facts.target in ("gain", "both"):
            is_rival = [rival in ("not told apart", "as well", "ahead") for rival in (facts.ruler, facts.control)]
            is_named = ["counting words" in text, "fine-tuning on the chosen" in text]
            assert any(is_named) == any(is_rival)
            if facts.ruler == facts.control:
                assert is_named == is_rival
            assert "beats" not in text or not any(is_rival)


def test_seeds_and_choice_open_the_sentence(all_sentences: list[tuple[Facts, str]]) -> None:
    """A recipe is told by its seeds and a choice by how many there were; one adapter of one run is just it."""
    for facts, text in all_sentences:
        assert ("over 3 seeds" in text.lower()) == (facts.seeds == "recipe")
        is_one_run = facts.versus == "baseline"
        assert text.startswith("Compared with") != is_one_run
        assert ("20 candidates" in text) == (is_one_run and facts.choice != "only")
        assert ("was chosen" in text) == (is_one_run and facts.choice == "chosen")


def test_numbers_that_are_not_finite_are_said(all_sentences: list[tuple[Facts, str]]) -> None:
    """On the target and elsewhere."""
    for facts, text in all_sentences:
        if "not finite" in (facts.target, facts.elsewhere):
            assert "not finite" in text
