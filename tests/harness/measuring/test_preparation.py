"""What the command line makes of an experiment before anything is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.measuring import preparation
from harness.measuring.preparation import Options, _resolve, prepare
from harness.training.recipe import TrainingError


def types_of(tmp_path: Path, *overrides: str, model: str | None = None, **options: Path | str) -> tuple[str, str]:
    """The types of weights and of 4-bit layers after everything the command line says."""
    rows = ("data.roles.preferences.name=embedded/preferences", "data.roles.preferences.split=test")
    given = Options(suite="alignment", workspace=tmp_path, overrides=(*rows, *overrides), model=model, **options)
    _, config, _, _ = _resolve(given)
    return config.model.dtype, config.model.compute_dtype


def test_the_embedded_presets_compute_in_float32(tmp_path: Path) -> None:
    """On every machine, unless -o says otherwise."""
    assert types_of(tmp_path) == ("float32", "float32")
    assert types_of(tmp_path, "model.compute_dtype=auto") == ("float32", "auto")


@pytest.mark.parametrize("given", ["option", "override"])
def test_another_model_in_their_place_computes_in_what_is_fast(given: str, tmp_path: Path) -> None:
    """An 8B model measured with the default preset is not computed in float32 on a GPU; what -o names is kept."""
    model = {"model": "some/model"} if given == "option" else {}
    overrides = () if given == "option" else ("model.name=some/model",)
    assert types_of(tmp_path, *overrides, **model) == ("auto", "auto")
    assert types_of(tmp_path, *overrides, "model.dtype=float32", **model) == ("float32", "auto")


def test_what_is_left_out_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after all the waiting."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n')
    monkeypatch.setattr(preparation, "_load_rows", lambda *_: pytest.exit("rows are loaded"))
    with pytest.raises(pytest.exit.Exception, match="rows are loaded"):
        prepare(Options(suite="alignment", workspace=tmp_path, model="some/model", pairs=str(rows)))
    assert "truthfulness is left out with its gate: no rows are named" in capsys.readouterr().err


def test_what_several_processes_cannot_share_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    """KTO, whether they are joined or planned."""
    given = Options(suite="alignment", workspace=tmp_path, preset="tinyllama-reviewer2-kto")

    _resolve(given)
    with pytest.raises(TrainingError, match="kto compares every answer with the others of its batch"):
        _resolve(replace(given, n_ranks=2))


def test_all_subjects_are_asked_in_the_template_that_an_adapter_was_saved_with(tmp_path: Path) -> None:
    """The base too, and in a line; the date that a template asks for is in it, and in the configuration."""
    suite = tmp_path / "mine.yaml"
    suite.write_text("name: mine\nevaluations: [{name: pairs, kind: reward, role: preferences, limit: 4}]\n")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    template = (
        "{{ strftime_now('%d %b %Y') }}{% for m in messages %}"
        "<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    (adapter / "chat_template.jinja").write_text(template, encoding="utf-8")
    options = Options(
        str(suite), tmp_path / "workspace", overrides=("model.quantization=none",), adapters=(("mine", adapter),)
    )

    experiment = prepare(options)

    (pair, *_) = experiment.data.pairs["preferences"].rows
    prompt = experiment.encoder.tokenizer.decode(experiment.encoder.prompt_ids(pair.prompt))
    assert prompt.startswith("26 Jul 2024<|user|>")
    assert experiment.config.model.chat_template == str(adapter)
    assert experiment.loaded.template == "given"
    assert any("All subjects, the base too" in note and "saved with mine" in note for note in experiment.notes)
    assert any("always told 2024-07-26" in note for note in experiment.notes)
    assert not any("thread" in note for note in experiment.notes)  # which another machine has more of
    assert str(adapter) in experiment.places
