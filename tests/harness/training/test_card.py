"""A card tells what is known of an adapter, in the hub's own form, and nothing that is not."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from harness.config.load import load_experiment, to_dict
from harness.config.schema import ExperimentConfig, LoraConfig, ModelConfig, TrainingConfig
from harness.models.adapter_files.folder import FIXTURE_FILE
from harness.models.adapters import attach_adapter
from harness.models.base import BASELINE, LoadedModel, load_model
from harness.training.card import write_card
from harness.training.fixture import fixture_inputs
from harness.training.recipe import Recipe
from reports.comparing.compare import compare
from reports.records import EvaluationCounts, ExampleScore, Metric, MetricScores, Run, Selection, Subject

ACCURACY = Metric(
    "preferences",
    "reward_accuracy",
    "share of pairs",
    higher_is_better=True,
    display="percent",
    primary=True,
    chance=0.5,
)
PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
BITS = Metric("truthfulness", "bits_per_byte", "bits per byte", higher_is_better=False)
COUNTS = EvaluationCounts(
    *("truthfulness", "TruthfulQA, from its file", 50, 40, 40),
    dataset_name="truthfulqa/truthful_qa:generation",
    split="validation",
)


def scores(value: float) -> tuple[ExampleScore, ...]:
    """Forty examples of ten tokens, each with so much a token, give or take."""
    return tuple(ExampleScore(f"e{n}", f"g{n}", 10 * (value + (n % 5 - 2) / 100), 10) for n in range(40))


def outcomes(n_won: int) -> tuple[ExampleScore, ...]:
    return tuple(ExampleScore(f"p{n}", f"g{n}", float(n < n_won), 1) for n in range(40))


def make_run(**changes: Any) -> Run:
    """A baseline and two candidates of the preset tiny-real."""
    run = Run(
        name="tiny-real-alignment-20261121",
        suite="alignment",
        created="2026-11-21T10:00:00+00:00",
        headline="tiny-real: base of somebody.",
        suite_fingerprint="0123456789abcdef",
        subjects=(
            Subject(BASELINE, "baseline", "adapter off"),
            Subject("lr=1e-5", "candidate", "adapter", reference=BASELINE, compared_with=("control",)),
            Subject("lr=2e-5", "candidate", "adapter", reference=BASELINE),
        ),
        measurements=(
            MetricScores(BITS, BASELINE, scores(1.0)),
            MetricScores(BITS, "lr=1e-5", (), missing="not measured"),
            MetricScores(BITS, "lr=2e-5", scores(1.1)),
            MetricScores(PERPLEXITY, BASELINE, scores(2.0)),
            MetricScores(PERPLEXITY, "lr=1e-5", scores(1.9)),
            MetricScores(PERPLEXITY, "lr=2e-5", scores(1.8)),
            MetricScores(ACCURACY, "lr=1e-5", outcomes(30)),
            MetricScores(ACCURACY, "lr=2e-5", outcomes(31)),
        ),
        counts=(COUNTS,),
        config=to_dict(load_experiment("tiny-real")),
    )
    return replace(run, **changes)


@pytest.fixture
def record(llama_folder: Path, load: Callable[..., LoadedModel], encode: Any) -> dict[str, Any]:
    """What `fixture.py` writes, of an adapter on a hub model."""
    loaded = load(llama_folder)
    recipe = Recipe(LoraConfig(target_modules=("q_proj", "v_proj")), TrainingConfig(learning_rate=1e-5), seed=7)
    inputs = fixture_inputs(loaded, encode(loaded), recipe)
    return inputs | {"fingerprint": "fedcba", "base": inputs["base"] | {"name": "Qwen/Qwen2-0.5B-Instruct"}}


@pytest.fixture
def folder(record: dict[str, Any], tmp_path: Path) -> Path:
    (tmp_path / FIXTURE_FILE).write_text(json.dumps(record))
    return tmp_path


def test_the_hub_reads_the_results(folder: Path) -> None:
    """Values, datasets and base come back from the card as the hub's own client reads it; nothing is said verified."""
    card = ModelCard.load(write_card(folder, run=make_run(), candidate="lr=2e-5"))

    data = card.data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (
        "Qwen/Qwen2-0.5B-Instruct",
        "peft",
        "text-generation",
    )
    assert data.tags == ["dpo", "lora"]
    assert data.datasets == [load_experiment("tiny-real").data.training.name.partition(":")[0]]
    assert data.model_name == "tiny-real: lr=2e-5"
    assert data.language is data.license is None
    results = {result.metric_name: result for result in data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        "TruthfulQA, perplexity": pytest.approx(math.exp(1.8)),
        "TruthfulQA, bits per byte": pytest.approx(1.1),
        "Preferred answers, reward accuracy": 31 / 40,
    }
    truthfulness = results["TruthfulQA, perplexity"]
    assert (truthfulness.dataset_type, truthfulness.dataset_config, truthfulness.dataset_split) == (
        "truthfulqa/truthful_qa", "generation", "validation",
    )  # fmt: skip
    assert truthfulness.dataset_name == "truthfulqa/truthful_qa:generation"
    assert (truthfulness.metric_type, truthfulness.task_type) == ("perplexity", "text-generation")
    assert results["Preferred answers, reward accuracy"].dataset_type == "preferences"  # its rows are not counted here
    assert {result.verified for result in data.eval_results} == {False}
    assert ModelCard(str(card)).data.to_dict() == data.to_dict()


def test_the_card_opens_as_a_report_of_the_adapter_alone(folder: Path) -> None:
    """Its headline, its primary metrics with intervals and verdicts, the others folded, and no other adapter."""
    run = make_run()
    shifted = tuple(replace(one, total=one.total - n % 3) for n, one in enumerate(scores(2.0)))
    measured = tuple(
        replace(each, scores=shifted) if each.metric == PERPLEXITY and each.subject == "lr=1e-5" else each
        for each in run.measurements
    )
    text = write_card(folder, run=replace(run, measurements=measured), candidate="lr=1e-5").read_text()

    evaluation = text.split("## Evaluation")[1].split("\n## ")[0]
    assert "**It favours the preferred answers more often than chance; one other measure got better" in evaluation
    assert "- **\u25b2 Gained**: Preferred answers +25.0 pp; TruthfulQA, perplexity \u22129." in evaluation
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in evaluation.splitlines() if "|" in line]
    assert rows[0] == ["Metric", "baseline", "lr=1e-5", "Difference", "95 % interval", "Verdict"]
    cells = {row[0].partition("<")[0]: row[1:] for row in rows}
    assert cells["Preferred answers, reward accuracy"][:3] == ["chance, 50 %", "75.0 %", "+25.0 pp"]
    assert cells["TruthfulQA, perplexity"][:2] == ["7.389", "6.703"]
    assert cells["TruthfulQA, perplexity"][-1] == "**\u25b2 better**"
    folded = evaluation.split("<details>")[1]
    assert "TruthfulQA, bits per byte" in folded
    assert "lr=2e-5" not in text
    assert text.index("## Evaluation") < text.index("## How to load it") < text.index("## Recipe")


def test_a_chosen_adapter_is_called_so_and_held_to_its_controls(folder: Path) -> None:
    """The card says that a sweep chose it, and that a control gains as much; the card of another one does not."""
    run = make_run()
    names = {"lr=2e-5": "control: sft on chosen"}
    subjects = tuple(
        replace(each, name=names.get(each.name, each.name), is_control=each.name in names)
        if each.name != "lr=1e-5"
        else replace(each, compared_with=("control: sft on chosen",))
        for each in run.subjects
    )
    measurements = tuple(replace(each, subject=names.get(each.subject, each.subject)) for each in run.measurements)
    choice = (Selection("lr=1e-5", 0.7, 0.6, 40, is_winner=True), Selection("lr=3e-5", 0.6, 0.6, 40, is_winner=False))
    run = replace(run, subjects=subjects, measurements=measurements, selection=choice)

    chosen, control = (write_card(folder, run=run, candidate=each.name).read_text() for each in subjects[1:])

    assert "**Of 2 candidates, lr=1e-5 was chosen: it favours the preferred answers" in chosen
    assert "but so does fine-tuning on the chosen answers" in chosen
    assert "was chosen" not in control


def test_comparisons_that_are_there_already_are_taken(folder: Path) -> None:
    """The card is the same whether it compares itself or is given the report's comparisons."""
    run = make_run(subjects=tuple(replace(subject, compared_with=()) for subject in make_run().subjects))
    own = write_card(folder, run=run, candidate="lr=2e-5").read_text()

    assert write_card(folder, run=run, candidate="lr=2e-5", comparisons=compare(run)).read_text() == own


def test_what_cannot_be_had_is_left_out(folder: Path) -> None:
    """A missing metric and one too large for a number are no results, and none is 0."""
    run = make_run()
    huge = tuple(replace(one, total=1e4) for one in scores(1.0))
    measurements = [
        replace(one, scores=huge) if one.metric == PERPLEXITY and one.subject == "lr=1e-5" else one
        for one in run.measurements
    ]

    path = write_card(folder, run=replace(run, measurements=tuple(measurements)), candidate="lr=1e-5")

    results = ModelCard.load(path).data.eval_results
    assert [result.metric_name for result in results] == ["Preferred answers, reward accuracy"]
    assert "| 0 " not in path.read_text()


def test_an_adapter_that_was_not_measured(folder: Path) -> None:
    """The card has the recipe and says that nothing was measured; the record is read from the folder."""
    text = write_card(folder).read_text()

    data = ModelCard(text).data
    assert data.eval_results is None
    assert data.datasets is None
    assert "model_name" not in text
    assert "trained with DPO on 8 rows." in text
    assert "This adapter has not been measured yet." in text
    assert re.search(r"\| training\.learning_rate +\| 1e-05 ", text)
    assert re.search(r"\| lora\.target_modules +\| q_proj, v_proj ", text)
    assert re.search(r"\| seed +\| 7 ", text)
    assert "max_steps" not in text  # None


@pytest.mark.parametrize(
    "nasty", ["---", "a: {b", "| x |", "<script>alert(1)</script>", "# @all *x*\n---\nkey: 1", "'\"\\"]
)
def test_texts_from_a_configuration_are_literal(nasty: str, folder: Path) -> None:
    """Names that are YAML, Markdown or HTML break neither the front matter nor the tables."""
    config = make_run().config | {"name": nasty}
    renamed = replace(PERPLEXITY, evaluation=nasty)
    measurements = (MetricScores(renamed, BASELINE, scores(2.0)), MetricScores(renamed, "lr=1e-5", scores(1.9)))
    run = make_run(name=nasty, headline=nasty, config=config, measurements=measurements)

    text = write_card(folder, run=run, candidate="lr=1e-5").read_text()

    data = ModelCard(text).data
    assert data.model_name == f"{nasty}: lr=1e-5"
    assert data.eval_results[0].dataset_name == data.eval_results[0].dataset_type == nasty
    front_matter = text.split("\n---\n")[0].removeprefix("---\n")
    assert set(yaml.safe_load(front_matter)) == {
        "base_model", "library_name", "pipeline_tag", "tags", "datasets", "model-index",
    }  # fmt: skip
    body = text[len(front_matter) + 8 :]
    assert "<script" not in body
    assert len(re.findall(r"^# ", body, flags=re.MULTILINE)) == 1
    evaluation = body.split("## Evaluation")[1].split("## How")[0]
    table = [line for line in evaluation.splitlines() if line.startswith("|") and "perplexity" in line]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [7]


def test_no_place_on_this_machine_is_told(record: dict[str, Any], llama_folder: Path, folder: Path) -> None:
    """A base in a folder is called by the folder's name and is no base of the hub; files are no datasets of the hub."""
    record["base"]["name"] = str(llama_folder)
    config = make_run().config
    config["data"]["training"]["name"] = "./mine/rows.jsonl"
    run = make_run(headline=f"base {llama_folder}, nf4", config=config)

    text = write_card(folder, record=record, run=run, candidate="lr=1e-5").read_text()

    assert str(llama_folder.parent) not in text
    assert f"base {llama_folder.name}, nf4" in text
    assert f'BASE = "path/to/{llama_folder.name}"' in text
    assert ModelCard(text).data.base_model is None
    assert ModelCard(text).data.datasets is None


def test_datasets_of_two_stages(folder: Path) -> None:
    """The first stage was trained on its own set alone, what follows on both."""
    config = make_run().config
    config["sft"] = {"data": {"name": "one/first"}}
    config["data"]["training"]["name"] = "two/second:part"
    subjects = (*make_run().subjects[:1], Subject("sft", "candidate", "x"), Subject("sft+dpo", "candidate", "x"))
    measurements = tuple(MetricScores(PERPLEXITY, each.name, scores(2.0)) for each in subjects)
    run = make_run(config=config, subjects=subjects, measurements=measurements)

    cards = [ModelCard.load(write_card(folder, run=run, candidate=name)) for name in ("sft", "sft+dpo")]

    assert [card.data.datasets for card in cards] == [["one/first"], ["one/first", "two/second"]]
    assert "of one/first and two/second:part." in cards[1].text


def test_a_control_is_called_one(record: dict[str, Any], folder: Path) -> None:
    """Nobody should take an adapter of shuffled pairs for the result; a stage before is named in the recipe."""
    subjects = [replace(each, is_control=each.name == "lr=2e-5") for each in make_run().subjects]
    run = make_run(subjects=tuple(subjects))

    cards = [
        write_card(folder, run=run, candidate=name, record=record | {"start": "0f0f"}).read_text()
        for name in ("lr=1e-5", "lr=2e-5")
    ]

    assert ["It is a control" in card for card in cards] == [False, True]
    assert re.search(r"\| started from +\| 0f0f ", cards[0])


def test_the_only_candidate_needs_no_name(folder: Path) -> None:
    """As in the run of one adapter."""
    run = make_run(subjects=make_run().subjects[:2], measurements=make_run().measurements[3:5])

    assert "# tiny-real: lr=1e-5" in write_card(folder, run=run).read_text()


@pytest.mark.parametrize(
    ("model", "quantization"), [("llama_folder", "none"), ("gpt2_folder", "none"), ("wide_llama_folder", "nf4")]
)
def test_the_code_of_the_card_loads_the_adapter(
    model: str, quantization: str, request: pytest.FixtureRequest, load: Any, encode: Any, tmp_path: Path
) -> None:
    """Run as it stands, but for the two paths, it gives the logits and the prompts of the candidate measured here."""
    import peft

    base_folder = request.getfixturevalue(model)
    loaded = load(base_folder, quantization=quantization)
    inputs = fixture_inputs(loaded, encode(loaded), Recipe(LoraConfig(), TrainingConfig(), seed=1))
    torch.manual_seed(5)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(load(base_folder).base, config).save_pretrained(tmp_path)
    (tmp_path / FIXTURE_FILE).write_text(json.dumps(inputs | {"base": inputs["base"] | {"name": str(base_folder)}}))

    text = write_card(tmp_path).read_text()

    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    code = code.replace(f"path/to/{base_folder.name}", str(base_folder)).replace("path/to/this/folder", str(tmp_path))
    names: dict[str, Any] = {}
    exec(code, names)
    attach_adapter(loaded, "tuned", str(tmp_path))
    token_ids = torch.tensor([[1, 5, 9, 33]])
    with torch.no_grad(), loaded.subject("tuned") as here:
        expected = here(token_ids).logits
        # Outside of this project 4-bit layers may take bitsandbytes' other kernel, which is as exact as bfloat16.
        tolerance = 1e-5 if quantization == "none" else 0.02 * float(expected.abs().max())
        assert torch.allclose(names["model"](token_ids).logits, expected, atol=tolerance)
    assert names["tokenizer"].chat_template == loaded.tokenizer.chat_template
    assert ("qlora" in ModelCard(text).data.tags) == (quantization == "nf4")


def test_the_embedded_base_is_found_from_the_card(record: dict[str, Any], tmp_path: Path) -> None:
    """The base that ships with the project is loaded from the package."""
    record["base"]["name"] = "embedded"

    text = write_card(tmp_path, record=record).read_text()

    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.split("base = ")[0], names)
    assert names["BASE"] == load_model(ModelConfig(quantization="none")).base.name_or_path
    assert ModelCard(text).data.base_model is None


def test_a_card_replaces_the_one_that_is_there(folder: Path) -> None:
    """Such as PEFT's own, and nothing is left beside it."""
    (folder / "README.md").write_text("---\nbase_model: /home/somebody\n---\n")

    write_card(folder, run=make_run(), candidate="lr=1e-5")

    assert "/home/somebody" not in (folder / "README.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", FIXTURE_FILE]


def test_every_setting_of_a_recipe_is_named() -> None:
    """The sections that the card reads are those of the configuration."""
    assert (
        {"data", "sft", "name"} <= to_dict(load_experiment("tiny")).keys() <= set(ExperimentConfig.__dataclass_fields__)
    )
