"""What scored rows say: their own texts, cut where they are long."""

from harness.measuring.example_texts import LONGEST_TEXT, shortened, text_of_example, text_of_pair
from reports.records import ExampleText
from suites.inputs import Example, Pair, Turn

PROMPT = (Turn("user", "Who?"),)


def test_a_pair_has_both_answers() -> None:
    """By the side they are on."""
    pair = Pair("a", "g", "one", (Turn("system", "Be kind."), *PROMPT), "Me.", "You.")

    assert text_of_pair(pair, "preferences") == ExampleText(
        "a", "preferences", "system: Be kind.\n\nuser: Who?", {"chosen": "Me.", "rejected": "You."}
    )


def test_an_example_has_its_right_answer_and_those_that_are_wrong() -> None:
    """Wrong ones a line each, and no entry where there are none."""
    assert text_of_example(Example("a", "g", PROMPT, "Me."), "e").texts == {"right": "Me."}
    assert text_of_example(Example("a", "g", PROMPT, "Me.", ("You.", "They.")), "e").texts == {
        "right": "Me.",
        "wrong": "You.\nThey.",
    }


def test_long_texts_are_cut_with_an_ellipsis_and_others_are_left_alone() -> None:
    """The limit holds for the prompt and each text by itself."""
    fits, long = "x" * LONGEST_TEXT, "x" * (LONGEST_TEXT + 1)

    found = shortened(ExampleText("a", "e", long, {"right": fits, "wrong": long}))

    assert found == ExampleText("a", "e", fits + "\u2026", {"right": fits, "wrong": fits + "\u2026"})
