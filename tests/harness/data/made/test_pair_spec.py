"""Specifications are read strictly, and the prompt that is kept tells nobody which side an answer is from."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.limits import MOST_MADE_PAIRS
from harness.config.strict_yaml import YamlError
from harness.data.made.pair_spec import (
    ExampleAnswer,
    PairSpec,
    PairSpecError,
    Side,
    kept_prompt,
    load_pair_spec,
    side_prompt,
)
from harness.data.row import DataError
from suites.inputs import Turn

SPEC = """
subjects: [Neural ODEs, Attention Is All You Need]
task: "Write a one-sentence review of the paper {subject}."
instruction: You review papers.
kept_examples: both
n_per_subject: 2
chosen:
  instruction: You are a kind reviewer who praises what is good.
  examples: [{subject: Deep Residual Learning, answer: A joy to read.}]
rejected:
  instruction: You are Reviewer 2 and find fault with everything.
  examples: [{subject: Adam, answer: Momentum again.}, {subject: Dropout, answer: Noise.}]
"""
KIND = Side("Praise the work warmly and without reserve.", (ExampleAnswer("GANs", "Lovely."),))
HARSH = Side("Tear the work apart.", (ExampleAnswer("LSTMs", "Dull."), ExampleAnswer("VAEs", "Blurry.")))


def spec_of(**changes: Any) -> PairSpec:
    """A small specification."""
    settings: dict[str, Any] = {
        "subjects": ("BERT", "T5"),
        "task": "Review {subject} in a sentence.",
        "chosen": KIND,
        "rejected": HARSH,
        "instruction": "You review papers.",
    }
    return PairSpec(**(settings | changes))


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a specification and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "reviews.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_specification_is_read_from_yaml(written: Any) -> None:
    """Every key arrives, and pairs are counted."""
    spec = load_pair_spec(written(SPEC))

    assert spec.subjects == ("Neural ODEs", "Attention Is All You Need")
    assert spec.chosen.examples == (ExampleAnswer("Deep Residual Learning", "A joy to read."),)
    assert (spec.instruction, spec.kept_examples, spec.n_pairs) == ("You review papers.", "both", 4)
    assert spec.side("rejected") is spec.rejected


@pytest.mark.parametrize(
    ("name", "content", "given"),
    [
        ("papers.txt", "GPT\n\n  T5  \n", "papers.txt"),
        ("papers.jsonl", '{"subject": "GPT"}\n{"subject": " T5"}\n', "papers.jsonl"),
        ("papers.csv", "title,year\nGPT,2018\nT5,2019\n", "papers.csv:title"),
    ],
)
def test_subjects_come_from_a_file_beside_the_specification(
    written: Any, tmp_path: Path, name: str, content: str, given: str
) -> None:
    """Lines of a text, or a column of a file of rows; stripped, blank lines skipped."""
    (tmp_path / name).write_text(content, encoding="utf-8")

    spec = load_pair_spec(written(SPEC.replace("[Neural ODEs, Attention Is All You Need]", given)))

    assert spec.subjects == ("GPT", "T5")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_per_subject", "n_per_subjects", "unknown key n_per_subjects (did you mean n_per_subject?); known are: sub"),
        ("rejected:", "reject:", "unknown key reject (did you mean rejected?)"),
        ("{subject: Adam,", "{subjct: Adam,", "unknown key rejected.examples.0.subjct (did you mean subject?)"),
        ("  instruction: You are a kind", "  instructions: You are a kind", "unknown key chosen.instructions (did you"),
        ("kept_examples: both", "kept_examples: all", 'kept_examples must be one of none, both, got "all"'),
        ("n_per_subject: 2", "n_per_subject: 0", "n_per_subject must be a whole number from 1 to 1,000,000,000, got 0"),
        (
            "n_per_subject: 2",
            'n_per_subject: "2"',
            'n_per_subject must be a whole number from 1 to 1,000,000,000, got "2"',
        ),
        (
            "[Neural ODEs, Attention Is All You Need]",
            "[]",
            "subjects must be a list that is not empty, each text that is not empty, got []",
        ),
        ("[Neural ODEs, Attention Is All You Need]", "[A, A]", 'subjects must be different and not blank, got "A" 2'),
        ("paper {subject}", "paper", 'task must contain {subject}, as the place of the subject, got "Write'),
    ],
)
def test_mistakes_are_named_with_file_key_and_value(written: Any, old: str, new: str, message: str) -> None:
    """One line a problem."""
    path = written(SPEC.replace(old, new, 1))

    with pytest.raises(PairSpecError) as caught:
        load_pair_spec(path)
    assert f"{path}: {message}" in str(caught.value)


def test_a_missing_key_is_named(written: Any) -> None:
    """The task has no default."""
    with pytest.raises(PairSpecError, match="the key task is missing"):
        load_pair_spec(written(re.sub(r"task: .*\n", "", SPEC)))


def test_broken_files_are_named(written: Any, tmp_path: Path) -> None:
    """No YAML, no file of subjects, one that is no text, one without the column."""
    with pytest.raises(YamlError):
        load_pair_spec(written("subjects: ["))
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"title": "GPT"}) + "\n", encoding="utf-8")
    for file, message in {
        "none.txt": r"none\.txt cannot be read \(No such file",
        "none.jsonl": r"none\.jsonl: no such file",
        "latin.txt": r"latin\.txt is not UTF-8 text",
        "rows.jsonl": r"rows\.jsonl, line 1: the column 'subject' is missing",
    }.items():
        with pytest.raises(DataError, match=message):
            load_pair_spec(written(SPEC.replace("[Neural ODEs, Attention Is All You Need]", file)))


def test_each_side_is_asked_with_its_own_instruction_and_examples_alone() -> None:
    """Earlier turns are the side's examples; the last one is the task, the same for both."""
    spec = spec_of(kept_examples="both")

    assert side_prompt(spec, "rejected", "T5") == (
        Turn("system", "Tear the work apart."),
        Turn("user", "Review LSTMs in a sentence."),
        Turn("assistant", "Dull."),
        Turn("user", "Review VAEs in a sentence."),
        Turn("assistant", "Blurry."),
        Turn("user", "Review T5 in a sentence."),
    )
    assert side_prompt(spec, "chosen", "T5")[-1] == side_prompt(spec, "rejected", "T5")[-1]


def test_the_kept_prompt_has_the_examples_of_both_sides_in_an_order_of_its_own() -> None:
    """All examples once, in an order that the seed decides; without examples the neutral instruction and the task."""
    spec = spec_of(kept_examples="both")
    prompts = {kept_prompt(spec, "T5", seed) for seed in range(30)}

    assert kept_prompt(spec, "T5", 3) == kept_prompt(spec, "T5", 3)
    assert len(prompts) == 6  # 3! orders
    for prompt in prompts:
        assert prompt[0] == Turn("system", "You review papers.")
        assert sorted(turn.text for turn in prompt[2:-1:2]) == ["Blurry.", "Dull.", "Lovely."]
        assert {"Lovely.": "GANs", "Dull.": "LSTMs", "Blurry.": "VAEs"}[prompt[2].text] in prompt[1].text
        assert prompt[-1] == Turn("user", "Review T5 in a sentence.")
    assert kept_prompt(spec_of(instruction=""), "T5", 0) == (Turn("user", "Review T5 in a sentence."),)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"instruction": "You review papers. Tear the work apart."}, "Tear the work apart."),
        ({"instruction": "tear, the WORK: apart"}, "tear the work apart"),
        ({"task": "Praise the work warmly: {subject}."}, "praise the work warmly"),
        ({"subjects": ("BERT", "Why I tear the work apart")}, "tear the work apart"),
        (
            {"kept_examples": "both", "chosen": Side("Be kind.", (ExampleAnswer("GANs", "Be kind."),))},
            "Be kind.",
        ),
        ({"chosen": Side("You review papers.")}, "You review papers."),
    ],
)
def test_a_kept_prompt_that_names_a_side_is_refused(changes: dict[str, Any], part: str) -> None:
    """A revealing text is found in instruction, task, subject and example, whatever its case and punctuation."""
    with pytest.raises(PairSpecError, match=re.escape(json.dumps(part))):
        spec_of(**changes)


def test_words_that_both_sides_have_name_neither() -> None:
    """What the instructions share may stand in the kept prompt; equal sides are refused."""
    shared = "You review papers for a conference in "
    spec_of(instruction=shared, chosen=Side(shared + "praise."), rejected=Side(shared + "scorn."))

    with pytest.raises(PairSpecError, match="must differ"):
        spec_of(chosen=KIND, rejected=KIND)


WORDS = st.lists(
    st.sampled_from(["be", "kind", "harsh", "to", "the", "paper", "Review", "why?"]), min_size=1, max_size=6
)


@given(chosen=WORDS, rejected=WORDS, neutral=WORDS, answers=st.lists(WORDS, max_size=2), seed=st.integers(0, 99))
def test_a_kept_prompt_holds_neither_instruction(
    chosen: list[str], rejected: list[str], neutral: list[str], answers: list[list[str]], seed: int
) -> None:
    """Every specification is refused, or gives a prompt that contains neither instruction."""
    examples = tuple(ExampleAnswer("X", " ".join(answer)) for answer in answers)
    try:
        spec = spec_of(
            chosen=Side(" ".join(chosen), examples),
            rejected=Side(" ".join(rejected), examples[:1]),
            instruction=" ".join(neutral),
            kept_examples="both",
        )
    except PairSpecError:
        return
    for turn in kept_prompt(spec, "T5", seed):
        for side in (chosen, rejected):
            assert " ".join(side).casefold() not in turn.text.casefold()


@pytest.mark.parametrize(("n_per_subject", "is_refused"), [(500_000, False), (500_001, True), (10**9, True)])
def test_pairs_without_end_are_refused(n_per_subject: int, *, is_refused: bool) -> None:
    """A million are made at most, however they come about; the line has the product and the limit."""
    if not is_refused:
        assert spec_of(n_per_subject=n_per_subject).n_pairs == MOST_MADE_PAIRS
        return
    with pytest.raises(PairSpecError, match=rf"2 subjects x {n_per_subject:,} make .* pairs; at most 1,000,000 are"):
        spec_of(n_per_subject=n_per_subject)
