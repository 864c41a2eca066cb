"""The section with answers side by side, and how many of them are refusals."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from reports.records import Generation, Run
from reports.rendering.content.blocks import Block, Paragraph, Quote, Section, Strong, Table, Words
from reports.rendering.content.display import NOTHING

MOST_PROMPTS = 24
"""Most prompts whose answers are shown; the others are in generations.jsonl."""
MOST_ANSWERS = 48
"""Most answers of all subjects together: a comment on a pull request holds 65,536 characters."""
MOST_CHARACTERS = 6_000
"""Most characters of prompts and answers together, for the same reason; the first prompt is shown in any case."""


def answers_section(run: Run) -> Section:
    """Return counts of refusals by kind of prompt, and every subject's answer to each prompt."""
    if not run.generations:
        return Section("answers", "Answers side by side")
    subjects = list(dict.fromkeys(answer.subject for answer in run.generations))
    by_prompt: dict[tuple[str, str], list[Generation]] = {}
    for answer in run.generations:
        by_prompt.setdefault((answer.evaluation, answer.example_id), []).append(answer)
    most = min(MOST_PROMPTS, max(1, MOST_ANSWERS // len(subjects)))
    shown = _within(MOST_CHARACTERS, list(by_prompt.values())[:most])
    rest = len(by_prompt) - len(shown)
    texts: list[Block] = []
    for position, answers in enumerate(shown, start=1):
        kind = f" {answers[0].kind}" if answers[0].kind else ""
        texts += [Paragraph(Strong(f"{position}.{kind}")), Quote(answers[0].prompt)]
        for answer in answers:
            texts += [Paragraph(f"{answer.subject}{' (refused)' if answer.refused else ''}:"), Quote(answer.answer)]
    if rest > 0:
        texts.append(Paragraph(f"{rest:,} more prompts are in generations.jsonl."))
    return Section(
        "answers",
        "Answers side by side",
        (refusals_table(run.generations, subjects), *texts),
        f"refusals, and {len(shown)} prompts with every answer",
    )


def _within(most_characters: int, by_prompt: Sequence[Sequence[Generation]]) -> Sequence[Sequence[Generation]]:
    """Return the first prompts' answers that have at most so many characters, at least those of one prompt."""
    lengths = (len(answers[0].prompt) + sum(len(each.answer) for each in answers) for answers in by_prompt)
    n_within = sum(total <= most_characters for total in accumulate(lengths))
    return by_prompt[: max(1, n_within)]


def refusals_table(generations: Sequence[Generation], subjects: Sequence[str]) -> Table:
    """Return how many answers of each subject are refusals, by kind of prompt."""
    asked = Counter((answer.kind, answer.subject) for answer in generations)
    refused = Counter((answer.kind, answer.subject) for answer in generations if answer.refused)
    kinds = dict.fromkeys(answer.kind for answer in generations)
    rows: list[tuple[Words, ...]] = [
        (
            kind or "prompts",
            *(
                f"{refused[kind, subject]} of {asked[kind, subject]}" if asked[kind, subject] else NOTHING
                for subject in subjects
            ),
        )
        for kind in kinds
    ]
    return Table(("Refused, by kind of prompt", *subjects), tuple(rows), "l" + "r" * len(subjects))
