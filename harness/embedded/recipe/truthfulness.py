"""Derives the multiple-choice truthfulness questions from the hand-written generation rows.

`python -m harness.embedded.recipe.truthfulness` reads `truthfulness_generation.jsonl` and rewrites
`truthfulness_multiple_choice.jsonl` in the data folder, in the columns of TruthfulQA.
"""

from collections.abc import Mapping
from typing import Any

import click

from harness.embedded.recipe.rows import DATA, read_jsonl, write_jsonl

GENERATION = DATA / "truthfulness_generation.jsonl"
MULTIPLE_CHOICE = DATA / "truthfulness_multiple_choice.jsonl"


def targets(right: list[str], wrong: list[str]) -> dict[str, list[Any]]:
    """The choices, right answers first, and a label for each: 1 is right, 0 is wrong."""
    return {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)}


def multiple_choice(row: Mapping[str, Any]) -> dict[str, Any]:
    """One multiple-choice row: in mc1 the best answer is the only right one, in mc2 every correct answer is."""
    return {
        "question": row["question"],
        "mc1_targets": targets([row["best_answer"]], row["incorrect_answers"]),
        "mc2_targets": targets(row["correct_answers"], row["incorrect_answers"]),
    }


def main() -> None:
    """Rebuilds the multiple-choice file and prints its number of questions."""
    rows = [multiple_choice(row) for row in read_jsonl(GENERATION)]
    write_jsonl(MULTIPLE_CHOICE, rows)
    click.echo(f"{MULTIPLE_CHOICE.name}: {len(rows)} questions")


if __name__ == "__main__":
    main()
