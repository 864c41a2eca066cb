"""What a job needs is opened before anything is trained, and told by the name that was typed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.load import load_experiment
from harness.config.schema import ModelConfig
from harness.measuring import lineup
from harness.measuring.lineup import Candidate, named_models
from harness.measuring.opening import check_names, trained_names
from harness.models.adapter_files.folder import AdapterError
from harness.models.base_files.folder import ModelError
from harness.models.opening import open_model

Harness = Callable[..., Any]
EMBEDDED = Path(__file__).parents[3] / "harness" / "embedded" / "base_model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the embedded model."""
    return shutil.copytree(EMBEDDED, tmp_path / "model")


@pytest.fixture(autouse=True)
def never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training fails the test."""

    def trains(*_: object, **__: object) -> None:
        raise AssertionError("an adapter is trained")

    monkeypatch.setattr(lineup, "build_or_reuse", trains)


def cut_off(folder: Path) -> None:
    """Half of the weights."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def without_a_tensor(folder: Path) -> None:
    """All weights but one."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[sorted(weights)[3]]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def of_another_shape(folder: Path) -> None:
    """One tensor shorter."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[3]
    weights[name] = weights[name][:8].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_a_tokenizer(folder: Path) -> None:
    """No file that says how texts become tokens."""
    for file in folder.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize("damage", [cut_off, without_a_tensor, of_another_shape, without_a_tokenizer])
def test_a_model_is_opened_without_its_weights(damage: Callable[[Path], None], model: Path) -> None:
    """Whatever loading it would find is found before, and named by the option; a whole model gives its tokenizer."""
    config = ModelConfig(name=str(model), quantization="none")
    assert open_model(config, "--candidate x").get_vocab()
    damage(model)
    with pytest.raises(ModelError, match=r"^--candidate x") as caught:
        open_model(config, "--candidate x")
    assert "model.name" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("x=./nope", "--candidate x=./nope: there is no folder './nope'"),
        ("x=adapter", "it is an adapter: give it with --adapter"),
        ("x=llama", "its tokenizer has other tokens than that of embedded"),
        ("adapter=model", "--candidate adapter=...: a subject of this run has that name already"),
        ("longest wins=model", "must be NAME=PATH with a name that is not taken"),
    ],
)
def test_a_candidate_is_opened_before_anything_is_trained(
    given: str, words: str, harness: Harness, tmp_path: Path, model: Path, llama_folder: Path
) -> None:
    """Missing, an adapter, of other tokens, or with a name that is taken: one line that begins with the option."""
    assert model.is_dir()
    shutil.copytree(Path(__file__).parents[2] / "regression" / "adapter", tmp_path / "adapter")
    (tmp_path / "llama").symlink_to(llama_folder)
    outcome = harness("train-and-eval", "--suite", "smoke", "--candidate", given)
    assert outcome.exit_code == 2
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("error: --candidate")
    assert words in last


@pytest.mark.parametrize("name", ["longest wins", "shortest wins", "bag of words", "unquantised", "adapter", "a"])
def test_no_two_subjects_have_one_name(name: str) -> None:
    """Rulers, the unquantised base, trained adapters and other candidates keep their names."""
    others = [Candidate("a", "", adapter="x"), Candidate(name, "", adapter="y")]
    with pytest.raises(AdapterError, match=rf"^--adapter {name}=...: a subject of this run has that name already"):
        check_names(others, ["adapter"])


@pytest.mark.parametrize("text", ["a\nb=x", "\x1b=x", f"{'n' * 201}=x", "bag of words=x"])
def test_names_of_candidates_can_be_columns(text: str) -> None:
    """Short, on one line, and of no other subject; the message shows no character that steers a terminal."""
    with pytest.raises(AdapterError, match="must be NAME=PATH") as caught:
        named_models([text], load_experiment("tiny"))
    assert str(caught.value).isprintable()


def test_merged_models_have_names_before_they_are_merged() -> None:
    """Every adapter but the controls, and the first stage where others continue it."""
    config = load_experiment("sft-then-dpo", overrides=["merged=float16", "controls=[sft]"])
    assert trained_names(config) == [
        "sft", "sft+dpo", "control: sft on chosen", "sft merged, float16", "sft+dpo merged, float16",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train-and-eval", "--sweep", "training.optimizer=adamw_torch,nope"), "optimizer=nope: "),
        (("train-and-eval", "--sweep", "training.method=dpo,kto"), "method=kto: training.method: kto trains on rated"),
        (
            ("calibrate", "--seeds", "3", "-o", "sweep={training.beta: [0.1, 0.2]}"),
            "sweeps training.beta",
        ),
        (("train-and-eval", "--suite", "gates.yaml"), 'gates.0: no evaluation measures "a/reward_acuracy"'),
        (("train-and-eval", "--suite", "rows.yaml", "-o", "data.roles.preferences.name=empty.jsonl"), "empty"),
        (("eval", "--model", "./nope", "--adapter", "adapter"), "--model ./nope: there is no folder './nope'"),
    ],
)
def test_what_only_a_later_step_reads_is_opened_first(
    arguments: tuple[str, ...], words: str, harness: Harness, tmp_path: Path
) -> None:
    """Recipes of a sweep, calibration, gates, rows of the suite and the base model."""
    shutil.copytree(Path(__file__).parents[2] / "regression" / "adapter", tmp_path / "adapter")
    suite = "name: s\nevaluations: [{name: a, kind: reward, role: preferences}]\n"
    (tmp_path / "rows.yaml").write_text(suite)
    (tmp_path / "gates.yaml").write_text(suite + "gates: [{metric: a/reward_acuracy, largest_loss: 0.1}]\n")
    (tmp_path / "empty.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n')
    if "--suite" not in arguments and arguments[0] != "eval":
        arguments = (*arguments, "--suite", "smoke")
    outcome = harness(*arguments)
    assert outcome.exit_code == 2, outcome.err
    assert any(part in outcome.err.strip().splitlines()[-1] for part in words.split("|")), outcome.err
