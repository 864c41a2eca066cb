"""The scorer against closed forms, plain forwards, TRL and lm-eval."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.activations import NewGELUActivation

from suites.engine.causal_model import ContextTooLongError, check_context, fused_activations, max_positions
from suites.engine.plain_path import plan_batches
from suites.engine.plan import PATHS, ScoringState, plan_within
from suites.engine.scoring import ModelScorer
from suites.inputs import Request

ADAPTER = pytest.mark.parametrize("adapter", [False, True], ids=["base", "lora"])


def state_of(**changes: Any) -> ScoringState:
    """The state of a run that has a CPU with plenty of memory, its plan changed as asked for."""
    return ScoringState(replace(plan_within("cpu", 2**40, hidden_size=64), **changes), str)


class FormulaModel(torch.nn.Module):
    """Has the interface of a causal language model; its logits are a given function of the input ids."""

    device = torch.device("cpu")

    def __init__(self, n_vocabulary: int, logits: Any) -> None:
        from transformers import PretrainedConfig

        super().__init__()
        self.config = PretrainedConfig(vocab_size=n_vocabulary)
        self._logits = logits
        self.largest = 0

    def forward(self, *, input_ids: Any, logits_to_keep: Any, **_: Any) -> Any:
        """Logits at the kept positions; the largest number of them is remembered."""
        logits = self._logits(input_ids)[:, logits_to_keep]
        self.largest = max(self.largest, logits.numel())
        return SimpleNamespace(logits=logits)


def random_requests(n: int, n_vocabulary: int, seed: int = 0, longest: int = 60) -> list[Request]:
    """Requests of many lengths, two of them equal."""
    rng = np.random.default_rng(seed)

    def ids(n_tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, n_vocabulary, n_tokens).tolist())

    requests = [Request(ids(int(rng.integers(1, longest))), ids(int(rng.integers(1, longest)))) for _ in range(n)]
    return [*requests, requests[0]]


def loaded(folder: Path, *, adapter: bool, seed: int = 0) -> Any:
    """The model of a folder, with a random (not an empty) LoRA adapter where asked for."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    if not adapter:
        return model.eval()
    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(model, config).eval()


@pytest.fixture(params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest) -> Path:
    """One folder for each family."""
    return Path(request.getfixturevalue(f"{request.param}_folder"))


def plain_log_probabilities(model: Any, request: Request) -> Any:
    """Log-probabilities of the response tokens from one forward over the whole request, and the argmax."""
    ids = torch.tensor([request.prompt_ids + request.response_ids])
    with torch.inference_mode():
        logits = model(ids).logits[0, len(request.prompt_ids) - 1 : -1]
    log_probabilities = logits.double().log_softmax(-1)
    targets = torch.tensor(request.response_ids)
    return log_probabilities[torch.arange(len(targets)), targets].numpy(), bool((logits.argmax(-1) == targets).all())


def tolerance(total: float) -> float:
    """1e-4 nats a response, or 1e-6 of its sum where that is larger."""
    return max(1e-4, 1e-6 * abs(total))


def test_uniform_model_gives_minus_log_of_the_vocabulary_size() -> None:
    """Constant logits give every token the probability 1 / vocabulary size."""
    model = FormulaModel(50, lambda ids: torch.zeros(*ids.shape, 50))

    scores = ModelScorer(model, pad_token_id=0, state=state_of()).score(random_requests(9, 50))

    for score in scores:
        np.testing.assert_allclose(score.token_log_probabilities, -np.log(50), rtol=1e-6)


def test_score_is_of_the_next_token_and_greedy_means_every_token_is_the_most_probable() -> None:
    """A model that is sure of the successor (id + 1) gives successors probability 1 and nothing else."""
    model = FormulaModel(50, lambda ids: 100.0 * torch.nn.functional.one_hot((ids + 1) % 50, 50).float())
    requests = [Request((4,), (5, 6)), Request((1, 2, 3), (4, 9, 10)), Request((30, 8), (9,))]

    scores = ModelScorer(model, pad_token_id=0, state=state_of()).score(requests)

    assert [score.is_greedy for score in scores] == [True, False, True]
    np.testing.assert_allclose(scores[0].token_log_probabilities, [0, 0], atol=1e-6)
    np.testing.assert_allclose(scores[1].token_log_probabilities, [0, -100, 0], atol=1e-5)


@ADAPTER
def test_equals_plain_forwards(folder: Path, adapter: bool) -> None:
    """Batched scores equal one forward a request in double-precision softmax."""
    model = loaded(folder, adapter=adapter)
    requests = random_requests(25, model.config.vocab_size)

    scores = ModelScorer(model, pad_token_id=0, state=state_of(max_pack_tokens=500)).score(requests)

    for request, score in zip(requests, scores, strict=True):
        expected, is_greedy = plain_log_probabilities(model, request)
        np.testing.assert_allclose(score.token_log_probabilities, expected, atol=2e-5)
        assert is_greedy == score.is_greedy


@ADAPTER
def test_equals_lm_eval(folder: Path, adapter: bool) -> None:
    """Sums and greedy flags equal HFLM's on the same ids, the greedy continuation included."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    model = loaded(folder, adapter=adapter)
    requests = random_requests(25, model.config.vocab_size, seed=1)
    prompt = requests[3].prompt_ids
    with torch.inference_mode():
        best = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
    requests.append(Request(prompt, (best,)))
    lm = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=4)

    expected = lm._loglikelihood_tokens(
        [(None, list(request.prompt_ids), list(request.response_ids)) for request in requests], disable_tqdm=True
    )
    scores = ModelScorer(model, pad_token_id=0, state=state_of()).score(requests)

    for (total, is_greedy), score in zip(expected, scores, strict=True):
        assert abs(total - score.log_probability) <= tolerance(total)
        assert is_greedy == score.is_greedy
    assert scores[-1].is_greedy


def test_equals_trl_with_the_adapter_on_and_off(folder: Path, tmp_path: Path) -> None:
    """Policy and reference sums equal those of DPOTrainer on its own batches of padded pairs."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    requests = random_requests(12, model.config.vocab_size, seed=2)
    pairs = [
        {"prompt_ids": [*a.prompt_ids], "chosen_ids": [*a.response_ids], "rejected_ids": [*b.response_ids]}
        for a, b in zip(requests[::2], requests[1::2], strict=False)
    ]
    row = {"prompt": "Who?", "chosen": " I.", "rejected": " You."}  # the trainer wants a dataset; ours is collated here
    trainer = DPOTrainer(
        model,
        args=DPOConfig(tmp_path, bf16=False, use_cpu=True, report_to="none", disable_tqdm=True),
        train_dataset=Dataset.from_list([row]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    trainer.model.eval()
    batch = trainer.data_collator(pairs)
    reference = torch.cat(trainer.compute_ref_log_probs(trainer.model, dict(batch)))
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.inference_mode():
        policy = trainer.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels, fused_lm_head=True
        ).log_probs.sum(1)
    sides = [
        Request(tuple(pair["prompt_ids"]), tuple(pair[side]))
        for side in ("chosen_ids", "rejected_ids")
        for pair in pairs
    ]

    scorer = ModelScorer(trainer.model, pad_token_id=0, state=state_of())
    with_adapter = scorer.score(sides)
    with trainer.model.disable_adapter():
        without_adapter = scorer.score(sides)

    for expected, scores in ((policy, with_adapter), (reference, without_adapter)):
        for total, score in zip(expected.tolist(), scores, strict=True):
            assert abs(total - score.log_probability) <= tolerance(total)
    assert not np.allclose(policy, reference, atol=0.1)


def test_batch_size_and_chunk_size_change_nothing(folder: Path) -> None:
    """Small packs, one large pack and logits in tiny chunks agree within 1e-4 nats on every path."""
    model = loaded(folder, adapter=False)
    requests = random_requests(20, model.config.vocab_size)
    limit = 5 * model.config.vocab_size
    tiny = {"max_logit_elements": limit, "max_plain_logit_elements": limit}
    states = [state_of(path=path, **sizes) for path in PATHS[1:] for sizes in ({"max_pack_tokens": 64}, {}, tiny)]
    first, *others = (ModelScorer(model, pad_token_id=7, state=state).score(requests) for state in states)

    for scores in others:
        for a, b in zip(first, scores, strict=True):
            np.testing.assert_allclose(a.token_log_probabilities, b.token_log_probabilities, atol=1e-4)


def test_soft_capped_logits_stay_right() -> None:
    """A Gemma 2, whose head caps its logits after the projection, scores as its plain forward does."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, sliding_window=8, final_logit_softcapping=2.0, initializer_range=0.5,
        )
    ).eval()  # fmt: skip
    requests = random_requests(10, 60)

    for request, score in zip(
        requests, ModelScorer(model, pad_token_id=0, state=state_of()).score(requests), strict=True
    ):
        np.testing.assert_allclose(score.token_log_probabilities, plain_log_probabilities(model, request)[0], atol=2e-5)


@given(seed=st.integers(0, 1000), max_tokens=st.integers(1, 400), max_positions=st.integers(1, 200))
@settings(max_examples=50)
def test_batches_hold_every_request_once_within_their_budgets(seed: int, max_tokens: int, max_positions: int) -> None:
    """Any requests in any order and any budget give batches of the same requests, over budget only where single."""
    requests = random_requests(12, 50, seed)[:-1]

    def planned(rows: list[Request]) -> list[list[Request]]:
        return plan_batches(rows, max_batch_tokens=max_tokens, max_logit_positions=max_positions)

    batches = planned(requests)

    assert sorted(requests, key=str) == sorted((request for batch in batches for request in batch), key=str)
    assert batches == planned(requests[::-1])
    for batch in batches:
        longest = max(len(request.prompt_ids) + len(request.response_ids) - 1 for request in batch)
        kept = longest - min(len(request.prompt_ids) for request in batch) + 1
        assert len(batch) == 1 or len(batch) * longest <= max_tokens
        assert len(batch) == 1 or len(batch) * kept <= max_positions


def test_logits_never_exceed_their_limit() -> None:
    """A single response longer than the limit is computed in several forwards."""
    model = FormulaModel(50, lambda ids: torch.zeros(*ids.shape, 50))

    state = state_of(max_plain_logit_elements=7 * 50)
    scores = ModelScorer(model, pad_token_id=0, state=state).score(random_requests(9, 50))

    assert model.largest <= 7 * 50
    assert all(np.isfinite(score.token_log_probabilities).all() for score in scores)


def test_equal_requests_are_scored_once_and_progress_counts_the_different_ones() -> None:
    """Three equal requests are one row of one batch, and three scores."""
    rows = []
    model = FormulaModel(50, lambda ids: rows.append(len(ids)) or torch.zeros(*ids.shape, 50))
    done: list[int] = []

    state = state_of(path="plain")
    requests = [Request((1,), (2,))] * 3 + [Request((1,), (3,))]
    scores = ModelScorer(model, pad_token_id=0, state=state).score(requests, done.append)

    assert (len(scores), rows, done) == (4, [2, 1, 1], [2])  # the check computes the batch once, and each request alone


def test_no_requests_give_no_scores(llama_folder: Path) -> None:
    """An empty evaluation is no error."""
    assert ModelScorer(loaded(llama_folder, adapter=False), pad_token_id=0, state=state_of()).score([]) == []


def test_dropout_is_off_and_the_mode_is_restored() -> None:
    """A model in training mode is scored without dropout and is left as it was, module by module."""
    model = FormulaModel(50, lambda ids: model.dropout(torch.ones(*ids.shape, 50)))
    model.dropout, model.frozen = torch.nn.Dropout(0.5), torch.nn.Dropout(0.5).eval()
    model.dropout.train()

    scores = ModelScorer(model, pad_token_id=0, state=state_of()).score(random_requests(3, 50))

    np.testing.assert_allclose(scores[0].token_log_probabilities, -np.log(50), rtol=1e-6)
    assert (model.training, model.dropout.training, model.frozen.training) == (True, True, False)


def test_the_fused_gelu_is_the_one_that_is_spelled_out_and_leaves_the_model_as_it_was() -> None:
    """Within the block GPT-2 computes its GELU by one kernel, equal within rounding; afterwards it has its own."""
    own = NewGELUActivation()
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), own)
    values = torch.linspace(-8, 8, 1001)
    with fused_activations(model):
        assert model[1] is not own
        torch.testing.assert_close(model[1](values), own(values), rtol=0, atol=2e-6)
    assert model[1] is own


def test_a_request_longer_than_the_model_is_refused(gpt2_folder: Path) -> None:
    """256 positions score 257 tokens, the last of which is no input, and no more."""
    scorer = ModelScorer(loaded(gpt2_folder, adapter=False), pad_token_id=0, state=state_of())
    scorer.score([Request((5,) * 200, (6,) * 57)])

    with pytest.raises(ContextTooLongError, match=r"256 positions.*257 tokens"):
        scorer.score([Request((5,) * 200, (6,) * 58)])


def test_context_limits_by_family() -> None:
    """Learned and rotary positions have a limit; ALiBi and state-space models have none."""
    from transformers import BloomConfig, GPT2Config, LlamaConfig, MambaConfig

    limits = [max_positions(config()) for config in (GPT2Config, LlamaConfig, BloomConfig, MambaConfig)]

    assert limits == [1024, 2048, None, None]
    check_context(None, 10**6)
    check_context(1024, 1024)
    with pytest.raises(ContextTooLongError, match="1024 positions"):
        check_context(1024, 1025)
