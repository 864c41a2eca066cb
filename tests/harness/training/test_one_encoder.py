"""What the trainer sees of a pair is what the suites measure of it: the same ids, log-probabilities and counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config.schema import LoraConfig, TrainingConfig
from harness.data.experiment_data import ExperimentData
from harness.data.overlap import Overlap
from harness.data.read import Dataset
from harness.models.base import LoadedModel
from harness.training.encode import encode_rows
from harness.training.recipe import EncodedRows, LogLine, Recipe
from harness.training.trl import TrainerInputs, make_trainer
from suites.engine.encoding import Encoder
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.evaluations import reward
from suites.inputs import Pair, Prompt, Turn

WITHOUT_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<' + message['role'] + '>' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""As Gemma 2's tokenizer has it."""
CONVERSATIONS: dict[str, Prompt] = {
    "one turn": (Turn("user", "How do I bake bread?"),),
    "several turns": (
        Turn("user", "What is a telescope?"),
        Turn("assistant", "A tube to look at stars."),
        Turn("user", "Which stars?"),
    ),
    "system turn": (Turn("system", "Answer in one sentence."), Turn("user", "Which party did he belong to?")),
    "system and several turns": (
        Turn("system", "Be brief."),
        Turn("user", "Hello."),
        Turn("assistant", "Hello. What would you like to know?"),
        Turn("user", "Where do seeds go? " * 12),
    ),
}
LONG = "the dough rests until it is brown and " * 12


def pairs() -> list[Pair]:
    """One pair a kind of conversation, one that truncation touches, one that it makes equal."""
    answers = [("Mix flour and water.", "I cannot help with that.")] * len(CONVERSATIONS)
    rows = list(zip(CONVERSATIONS.values(), answers, strict=True))
    rows.append((CONVERSATIONS["one turn"], (f"{LONG} so.", "Bake it.")))
    rows.append((CONVERSATIONS["several turns"], (f"{LONG} yes.", f"{LONG} no.")))
    return [
        Pair(str(number), str(number), "", prompt, chosen, rejected)
        for number, (prompt, (chosen, rejected)) in enumerate(rows)
    ]


@pytest.fixture(params=["own template with system turns", "template that refuses them", "instruction template"])
def model(request: pytest.FixtureRequest, llama_folder: Path, load: Callable[..., LoadedModel]) -> LoadedModel:
    """A Llama whose template has a place for a system turn, one whose has none, and one with ours."""
    loaded = load(llama_folder, template="instruction" if request.param.startswith("instruction") else "auto")
    if request.param.startswith("template"):
        loaded.tokenizer.chat_template = WITHOUT_SYSTEM
    return loaded


def trained_on(rows: list[Pair], encoder: Encoder) -> Any:
    """The rows as an experiment hands them to its trainer."""
    source = Dataset(tuple(rows), "here", len(rows), {})
    data = ExperimentData(training=tuple(rows), selection=(), training_dataset=source, overlap=Overlap(frozenset(), {}))
    return encode_rows(data, encoder, seed=0)["experiment"]


def test_a_trainer_and_a_suite_see_the_same_of_every_pair(
    model: LoadedModel, train: Callable[..., tuple[LogLine, ...]], tmp_path: Path
) -> None:
    """Whatever the template and the turns: ids in the trainer's batch, log-probabilities, rows touched and left out."""
    encoder = Encoder(model.tokenizer, max_prompt_tokens=60, max_tokens=110)
    rows = trained_on(pairs(), encoder)
    plan = reward.plan(pairs(), encoder)
    training = TrainingConfig(batch_size=len(rows.training), max_steps=1, engine="packed")
    recipe = Recipe(LoraConfig(rank=2, dropout=0.0), training, seed=0)

    assert [(row.chosen.request, row.rejected.request) for row in rows.training] == [
        (chosen.request, rejected.request) for chosen, rejected in plan.responses
    ]
    assert dict(rows.touched) == plan.touched
    assert {"sides equal after truncation": rows.n_equal} == plan.left_out
    assert "prompt truncated" in plan.touched
    assert "response truncated" in plan.touched

    trainer = make_trainer(TrainerInputs(model, rows.training, recipe, is_started=False), tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(len(rows.training))])
    seen = [
        tuple(ids[mask.bool()].tolist()) for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    trainer.model.unload()
    assert set(seen) == {request.prompt_ids + request.response_ids for request in plan.requests}

    state = ScoringState(plan_for(model.base), print)
    scores = ModelScorer(model.base, pad_token_id=model.pad_token_id, state=state).score(plan.requests)
    sums = {request: score.log_probability for request, score in zip(plan.requests, scores, strict=True)}
    step = next(row for row in train(model, EncodedRows(rows.training), recipe) if row["kind"] == "train")
    assert step["logps/chosen"] == pytest.approx(
        np.mean([sums[chosen.request] for chosen, _ in plan.responses]), abs=1e-3
    )
    assert step["logps/rejected"] == pytest.approx(
        np.mean([sums[rejected.request] for _, rejected in plan.responses]), abs=1e-3
    )
