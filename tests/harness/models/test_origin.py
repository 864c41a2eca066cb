"""What an adapter's own files say of its training, and that nothing is made up where they do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.models.adapter_files.folder import CARD_FILE, CONFIG_FILE, FIXTURE_FILE, AdapterError
from harness.models.origin import (
    MERGE_FILE,
    OF_TRAINING,
    Origin,
    as_record,
    origin_of_adapter,
    origin_of_model,
)
from harness.training.card import write_card
from suites.inputs import content_id

INPUTS = {
    "start": "bbbbbbbbbbbbbbbb",
    "base": {"fingerprint": "c", "quantization": "none", "dtype": "float32", "template": "t"},
    "rows": {"training": {"n": 8}},
    "recipe": {"lora": {"rank": 4}, "training": {"method": "dpo", "beta": 0.3}, "seed": 1},
    "versions": {},
}


def record_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """What `build_or_reuse` records of these inputs, which its fingerprint is the hash of."""
    base = inputs["base"] | {"name": "org/base"}
    return inputs | dict.fromkeys(OF_TRAINING, 2) | {"fingerprint": content_id(inputs), "base": base, "files": {}}


RECORD = record_of(INPUTS)
OWN = Origin(True, "dpo", 0.3, "bbbbbbbbbbbbbbbb", says_start=True, fingerprint=RECORD["fingerprint"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter's folder that says no more than PEFT writes."""
    (tmp_path / CONFIG_FILE).write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "mistralai/Mistral-7B-v0.1"})
    )
    return tmp_path


def with_card(folder: Path, text: str) -> Origin:
    (folder / CARD_FILE).write_text(text)
    return origin_of_adapter(folder)


def test_the_record_says_method_beta_and_start(folder: Path) -> None:
    """A fixture knows all of it; one without a start was trained from the base."""
    (folder / FIXTURE_FILE).write_text(json.dumps(RECORD))
    assert origin_of_adapter(folder) == OWN
    alone = record_of(INPUTS | {"start": None})
    (folder / FIXTURE_FILE).write_text(json.dumps(alone))
    expected = Origin(True, "dpo", 0.3, None, says_start=True, fingerprint=alone["fingerprint"])
    assert origin_of_adapter(folder) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": INPUTS["recipe"] | {"training": {"method": "dpo", "beta": 0.1}}},
        {"start": None},
        {"fingerprint": "aaaaaaaaaaaaaaaa"},
    ],
    ids=["beta", "start", "fingerprint"],
)
def test_a_record_that_was_edited_is_refused(changes: dict[str, Any], folder: Path) -> None:
    """Its fingerprint is the hash of what was trained with, so that an edited beta or start is no recorded one."""
    (folder / FIXTURE_FILE).write_text(json.dumps(RECORD | changes))
    with pytest.raises(AdapterError, match=r"fixture\.json was changed after .*; put the original back, or remove"):
        origin_of_adapter(folder)


def test_the_name_of_the_base_may_change(folder: Path) -> None:
    """It is no part of the hash: the weights are known by their own."""
    (folder / FIXTURE_FILE).write_text(json.dumps(RECORD | {"base": RECORD["base"] | {"name": "elsewhere"}}))
    assert origin_of_adapter(folder) == OWN


def test_the_projects_own_card_says_it_too(folder: Path) -> None:
    """An adapter that was uploaded with its README and without its record."""
    write_card(folder, record=RECORD)

    origin = origin_of_adapter(folder)

    assert (origin.is_own, origin.beta, origin.start, origin.says_start) == (True, 0.3, "bbbbbbbbbbbbbbbb", True)
    write_card(folder, record=record_of(INPUTS | {"start": None}))
    origin = origin_of_adapter(folder)
    assert (origin.is_own, origin.start, origin.says_start) == (True, None, True)


@pytest.mark.parametrize(
    ("card", "beta"),
    [
        ("- beta: 0.05\n- learning_rate: 5e-6", 0.05),
        ("trained with DPO (`beta=0.01`).", 0.01),
        ("rl: dpo\nrl_beta: 0.2", 0.2),
        ("| pref_beta | 1e-1 |", 0.1),
        ("DPO with a beta of 0.3.", 0.3),
        ("Trained with DPO (beta 0.1, AdamW).", 0.1),
        ("accelerate launch dpo.py --beta 0.3 --learning_rate 5e-6", 0.3),
        ("- learning rate 5e-6\n- beta 0.1", 0.1),
        ("optimizer: adamw; beta: 0.1", 0.1),
        ("Adam with beta: 0.9", None),
        ("optimizer: adamw with beta = 0.95. DPO with beta = 0.2.", 0.2),
        ("beta: 0.9 of Adam", None),
        ("optimizer:\n  name: adamw\n  beta: 0.9\n", None),
        ("This is beta 0.9 of the model; # beta 2", None),
        ("DPO, released as beta 0.1.2", None),
        ("- optimizer: AdamW with betas=(0.9,0.999) and epsilon=1e-08\n- adam_beta1: 0.9\n- adam_beta2: 0.95", None),
        ("We tried beta = 0.1 and beta = 0.5.", None),
        ("beta: true; beta: 0; beta: -1; alphabeta: 0.5; version 2.beta: 7", None),
        ("", None),
    ],
)
def test_beta_is_read_from_a_card_only_where_it_is_one(card: str, beta: float | None, folder: Path) -> None:
    """Cards of TRL, axolotl and LLaMA-Factory; never Adam's betas, and nothing where two are named."""
    assert with_card(folder, card) == Origin(beta=beta)


@pytest.mark.parametrize(
    ("card", "start"),
    [
        ("This model is a fine-tuned version of [alignment-handbook/zephyr-7b-sft-qlora](https://x) on y.",
         "alignment-handbook/zephyr-7b-sft-qlora"),
        ("This model is a fine-tuned version of [mistralai/Mistral-7B-v0.1](https://x).", None),
        ("adapter: lora\nlora_model_dir: ./out/sft\nrl: dpo", "./out/sft"),
        ("adapter_name_or_path: org/sft", "org/sft"),
        ("lora_model_dir: null", None),
    ],
)  # fmt: skip
def test_a_card_may_name_the_adapter_that_training_started_from(card: str, start: str | None, folder: Path) -> None:
    """Another model than its configuration's base is a start; the base itself proves nothing, cards name it anyway."""
    origin = with_card(folder, card)
    assert (origin.start, origin.says_start, origin.is_own) == (start, start is not None, False)


def test_without_files_nothing_is_known(folder: Path) -> None:
    """Not even a beta of 0.1."""
    assert origin_of_adapter(folder) == Origin()


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\ud83d"])
def test_a_damaged_record_is_one_line(text: str, folder: Path) -> None:
    """It is named, and not taken for an adapter from elsewhere."""
    (folder / FIXTURE_FILE).write_bytes(text.encode("utf-8", errors="surrogatepass"))
    with pytest.raises(AdapterError, match=r"fixture\.json .* damaged"):
        origin_of_adapter(folder)


@pytest.mark.parametrize("recipe", [None, [], {"training": 3}, {"training": {"method": 1, "beta": "0.1"}}])
def test_values_of_odd_types_are_not_said(recipe: object, folder: Path) -> None:
    """A record that someone edited is no traceback."""
    (folder / FIXTURE_FILE).write_text(json.dumps({"recipe": recipe, "start": 7}))
    assert origin_of_adapter(folder) == Origin(is_own=True, says_start=True)


def test_a_merged_model_keeps_the_record_of_its_adapter(folder: Path) -> None:
    """merge.json of an own adapter holds it; one from before, or of an adapter from elsewhere, says nothing."""
    (folder / MERGE_FILE).write_text(json.dumps({"trained": as_record(OWN)}))
    assert origin_of_model(folder) == OWN
    (folder / MERGE_FILE).write_text(json.dumps({"trained": as_record(Origin())}))
    assert origin_of_model(folder) == Origin()
    (folder / MERGE_FILE).write_text("{}")
    assert origin_of_model(folder) == Origin()


@pytest.mark.parametrize("beta", [10**400, -1, True, "0.1", [0.1]])
def test_a_beta_that_is_no_number_is_not_said(folder: Path, beta: object) -> None:
    """Nor is a whole number beyond all floats an error."""
    record = {"recipe": {"training": {"method": "dpo", "beta": beta}}}
    (folder / "fixture.json").write_text(json.dumps(record))
    assert origin_of_adapter(folder).beta is None
