"""Rows of the user's own are measured by whatever the suite has for them; what has no rows is left out with a line."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.config.load import ConfigError, load_experiment, to_yaml
from harness.config.schema import ColumnsConfig, DatasetConfig, ExperimentConfig, SuiteConfig
from harness.measuring.own_rows import with_pairs
from harness.measuring.preparation import Options, _resolve

PROMPT = "What happens if you eat watermelon seeds?"
KINDS = {
    "pairs": {"prompt": PROMPT, "chosen": "They pass.", "rejected": "They grow."},
    "ranked": {"prompt": PROMPT, "answers": ["They pass.", "They grow."], "scores": [2, 1]},
    "rated": {"prompt": PROMPT, "completion": "They pass.", "label": True},
    "examples": {"prompt": PROMPT, "completion": "They pass."},
    "questions": {"prompt": PROMPT},
}
"""Kind of rows -> a row of it."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A file of each kind of rows."""
    names = {}
    for kind, row in KINDS.items():
        file = tmp_path / f"{kind}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        names[kind] = str(file)
    return names


def resolved(
    *overrides: str, model: str | None = "some/model", suite: str = "alignment", **options: str | Path | None
) -> tuple[SuiteConfig, ExperimentConfig, tuple[str, ...]]:
    """Suite, experiment and lines of a command line of `harness eval`."""
    given = Options(
        suite=suite, workspace=Path("nowhere"), overrides=overrides, model=model, trains_now=False, **options
    )
    found, config, _, left_out = _resolve(given)
    return found, config, left_out


def names(suite: SuiteConfig) -> list[str]:
    """The evaluations of a suite."""
    return [each.name for each in suite.evaluations]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pairs", ["preferences", "chosen_answers", "answers", "drift"]),
        ("ranked", ["preferences", "chosen_answers", "answers", "drift"]),
        ("rated", ["chosen_answers", "answers", "drift"]),
        ("examples", ["chosen_answers", "answers", "drift"]),
        ("questions", ["answers", "drift"]),
    ],
)
def test_each_kind_of_rows_is_measured_by_what_it_can_carry(
    kind: str, expected: list[str], files: dict[str, str]
) -> None:
    """Without a preset or a file; each evaluation that is left out has one line with the reason."""
    columns = "data.roles.preferences.columns={prompt: prompt, answers: answers, scores: scores}"
    suite, config, left_out = resolved(*[columns] * (kind == "ranked"), pairs=files[kind])

    assert names(suite) == expected
    shipped = ["preferences", "truthfulness", "coreference", "safety", "lm_eval", "answers", "drift", "neutral_text"]
    assert [line.partition(" is left out")[0] for line in left_out] == [
        each for each in [*shipped, "capability"] if each not in expected
    ]
    assert all("\n" not in line for line in left_out)
    assert not any(dataset.name.startswith("embedded/") for dataset in config.data.roles.values())
    assert not any(config.data.tasks.values())
    if kind not in ("pairs", "ranked"):
        assert f"preferences is left out with its gate: {files[kind]} has no pairs; it offers" in left_out[0]


def test_gates_go_with_their_evaluations(files: dict[str, str]) -> None:
    """A gate on what is not measured would have nothing to hold to."""
    assert [gate.metric for gate in resolved(pairs=files["pairs"])[0].gates] == ["preferences/reward_accuracy"]
    assert resolved(pairs=files["examples"])[0].gates == ()


def test_rows_of_ones_own_have_usual_lengths(files: dict[str, str]) -> None:
    """Not those of the embedded model; `-o` decides as ever, and names of the default are not kept."""
    _, config, _ = resolved(pairs=files["pairs"])
    assert (config.data.max_prompt_tokens, config.data.max_tokens) == (512, 1024)
    assert config.name == "own-rows"
    assert config.model.dtype == "auto"

    chosen = ("data.max_tokens=2000", "name=mine", "data.roles.truthfulness.name=embedded/truthfulness:generation")
    suite, config, _ = resolved(*chosen, pairs=files["pairs"])
    assert (config.data.max_prompt_tokens, config.data.max_tokens, config.name) == (512, 2000, "mine")
    assert "truthfulness" in names(suite)


def test_the_embedded_model_and_a_preset_keep_their_rows(files: dict[str, str], tmp_path: Path) -> None:
    """Embedded rows bind where the base is the embedded one, or where a preset or a file says so."""
    config_file = tmp_path / "mine.yaml"
    config_file.write_text(to_yaml(load_experiment("tiny")))
    for options in ({"model": None}, {"preset": "tiny"}, {"config_file": config_file}):
        suite, config, left_out = resolved(pairs=files["pairs"], **options)

        assert left_out == ()
        assert names(suite)[:3] == ["preferences", "chosen_answers", "truthfulness"]
        assert config.data.roles["preferences"].name == config.data.roles["prompts"].name == files["pairs"]
        assert config.data.roles["truthfulness"].name == "embedded/truthfulness:generation"
        assert config.data.training.name == "embedded/preferences"


def test_a_model_without_rows_is_refused_in_words_that_help() -> None:
    """It used to be measured on the embedded toy rows, cut to 128 tokens."""
    with pytest.raises(ConfigError) as caught:
        resolved()
    message = str(caught.value)

    assert message.startswith("nothing says which rows model.name some/model is measured on: ")
    assert all(typed in message for typed in ("--pairs FILE", "--preset NAME", "--config FILE"))
    assert "\n" not in message


def test_a_suite_without_these_roles_says_so(files: dict[str, str], tmp_path: Path) -> None:
    """A suite of the user's own that asks for other rows."""
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nevaluations: [{name: truth, kind: perplexity, role: truthfulness}]\n")
    with pytest.raises(ConfigError, match="truth is left out: no rows are named for truthfulness"):
        resolved(pairs=files["pairs"], suite=str(own))


def test_what_is_said_of_the_rows_at_one_place_counts_at_all(files: dict[str, str]) -> None:
    """Columns, split and limit; what is said of the prompts alone stays theirs."""
    columns = "{prompt: q, chosen: a, rejected: b}"
    expected = ColumnsConfig(prompt="q", chosen="a", rejected="b")
    for place in ("data.training", "data.roles.preferences"):
        overrides = with_pairs(
            (f"{place}.columns={columns}", "data.roles.prompts.limit=7"), files["pairs"], trains_on_them=True
        )
        data = load_experiment(None, None, overrides).data

        assert data.training.columns == data.roles["preferences"].columns == data.roles["prompts"].columns == expected
        assert data.roles["prompts"].limit == 7


def test_names_that_yaml_would_read_otherwise_stay() -> None:
    """A file may be called anything."""
    for name in ("a: b #c.jsonl", 'quo"te.jsonl', "back\\slash.jsonl", "\U0001f600.jsonl", "null", "{x}.jsonl"):
        data = load_experiment(None, None, with_pairs((), name, trains_on_them=True)).data
        assert {data.training.name, data.roles["preferences"].name, data.roles["prompts"].name} == {name}


def test_rows_to_train_on_fill_the_roles_too(files: dict[str, str]) -> None:
    """`train-and-eval -o model.name=... -o data.training.name=FILE` measures what it trained on, divided by group."""
    options = Options(
        suite="alignment",
        workspace=Path("nowhere"),
        overrides=("model.name=some/model", f"data.training.name={files['pairs']}", "data.training.split=train"),
    )
    suite, config, options, _ = _resolve(options)

    assert names(suite) == ["preferences", "answers", "drift"]
    assert config.data.roles == dict.fromkeys(("preferences", "prompts"), DatasetConfig(files["pairs"], "train"))
    assert options.trains


def test_what_the_user_says_was_trained_on_fits_the_bag_of_words(files: dict[str, str]) -> None:
    """Of an adapter from elsewhere nothing else is known, and its own rows are measured."""
    told: Sequence[tuple[str, ...]] = ((), (files["rated"],))
    fitted_on = [resolved(pairs=files["pairs"], trained_on=each)[1].data.training.name for each in told]

    assert fitted_on == [files["pairs"], files["rated"]]


def test_rows_of_ones_own_are_never_taken_for_safe_answers(files: dict[str, str]) -> None:
    """Nothing in a file of pairs says so: safety is left out with a line that says how to name its rows."""
    found, config, left_out = resolved(pairs=files["pairs"])
    assert "safety" not in config.data.roles
    assert "safety" not in names(found)
    assert (
        "safety is left out with its gate: no rows are named for safety (-o data.roles.safety.name=FILE, or "
        "--preset NAME)"
    ) in left_out
