"""Scores a tiny model of each family by the engine and by one forward a request, and shows path and difference.

    python docs/scripts/families.py                     # prints the table
    python docs/scripts/families.py --write             # and puts it into docs/families.md
    python docs/scripts/families.py --only GPT-Neo,OPT  # some families

The models have random weights and an adapter that moves their logits, and are loaded as `harness eval` loads them. Exit
code 1 where a score is wrong.
"""
# ruff: noqa: INP001, PLC0415, T201

import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from tiny_models import FAMILIES, LONGEST, N_VOCABULARY, build

from suites.inputs import Request

PAGE = Path(__file__).parents[1] / "families.md"
BEGIN, END = "<!-- families -->", "<!-- end -->"
"""What stands around the table in the page."""
ALLOWED_NATS = 1e-4
WITHOUT_ADAPTER = {
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"), ("out_proj", "conv1d")),
    **dict.fromkeys(("llama4_text", "phimoe"), ("router",)),
}
"""Model type -> layers that PEFT cannot adapt: kernels go past them, or they return more than a tensor."""
SHORTEST = 3
"""Smallest threshold that has requests on both sides."""
LEAST_MOVED = 0.01
"""Largest change of a logit that an adapter has to reach."""


@dataclass(frozen=True)
class Result:
    """What was found for one family."""

    family: str
    path: str
    difference_nats: float
    """Largest one of a response."""
    n_requests: int

    @property
    def holds(self) -> bool:
        """Whether every score is right; not so where it is NaN."""
        return self.difference_nats <= ALLOWED_NATS


def requests_for(thresholds: Sequence[int]) -> list[Request]:
    """Returns requests on both sides of each threshold, in trees and apart, in more than one pack."""
    rng = np.random.default_rng(0)

    def ids(n_tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, N_VOCABULARY, n_tokens).tolist())

    preamble = ids(10)
    requests = []
    for n_tokens in (2, 5, 70, 110):  # questions by their choices, and choices by their beginnings
        prompt, beginning = preamble + ids(n_tokens), ids(3)
        requests += [Request(prompt, beginning + ids(n)) for n in (1, 4)]
        requests += [Request(prompt, ids(n)) for n in (1, 1, 8)]
    for threshold in (each for each in thresholds if SHORTEST <= each < LONGEST):
        for n_inputs in (threshold - 1, threshold, threshold + 1, threshold + 9):
            whole = ids(n_inputs + 1)
            requests.append(Request(whole[:-2], whole[-2:]))
        crossing = preamble + ids(max(1, threshold - 10))
        requests += [Request(crossing, ids(n)) for n in (1, 6, 12)]
    requests += [Request(ids(n), ids(4)) for n in (1, 2, 200)]
    return requests


def separate_scores(model: Any, requests: Sequence[Request]) -> list[float]:
    """Returns log-probabilities in nats from one forward a request over all its tokens but the last."""
    import torch

    sums = []
    for request in requests:
        inputs = torch.tensor([(request.prompt_ids + request.response_ids)[:-1]])
        with torch.inference_mode():
            logits = model(input_ids=inputs, use_cache=False).logits[0, len(request.prompt_ids) - 1 :].double()
        targets = torch.tensor(request.response_ids)
        sums.append(float(logits.log_softmax(-1)[torch.arange(len(targets)), targets].sum()))
    return sums


def measure(family: str, folder: Path) -> Result:
    """Loads the family's model as the product does, and compares its scores with one forward a request."""
    from harness.config.schema import ModelConfig
    from harness.models.base import load_model
    from suites.engine.plan import ScoringState, plan_for
    from suites.engine.scoring import ModelScorer
    from suites.engine.self_check.thresholds import length_thresholds

    build(family).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    loaded = load_model(ModelConfig(name=str(folder), quantization="none", device="cpu", dtype="float32"))
    requests = requests_for(length_thresholds(loaded.base.config))
    model = adapted(loaded.base, requests[0])
    right = separate_scores(model, requests)
    state = ScoringState(plan_for(loaded.base), lambda line: print(f"  {line}", file=sys.stderr))
    scorer = ModelScorer(model, pad_token_id=loaded.pad_token_id, state=state)
    short = [request for request in requests if len(request.response_ids) == 1][:1]
    scores = scorer.score(short) + scorer.score(requests)  # the second call brings what the first did not have
    wrong = [
        abs(score.log_probability - nats)
        for score, nats in zip(scores, [right[requests.index(short[0])], *right], strict=True)
    ]
    return Result(family, state.plan.path, float(np.max(wrong)), len(requests))


def adapted(base: Any, request: Request) -> Any:
    """Returns the model with a random adapter on every linear layer, which moves its logits."""
    import torch
    from peft import LoraConfig, get_peft_model

    inputs = torch.tensor([request.prompt_ids])
    with torch.inference_mode():
        before = base(input_ids=inputs, use_cache=False).logits
    torch.manual_seed(1)
    lora = LoraConfig(
        r=4,
        target_modules="all-linear",
        exclude_modules=[*WITHOUT_ADAPTER.get(base.config.model_type, ())],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, lora).eval()
    with torch.inference_mode():
        moved = float((model(input_ids=inputs, use_cache=False).logits - before).abs().max())
    if not moved > LEAST_MOVED:
        raise RuntimeError(f"the adapter moves no logit by more than {moved:.1e}")
    return model


def tokenizer() -> Any:
    """Returns a tokenizer with a token for each byte."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "<|endoftext|>"}
    words = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def table(results: Sequence[Result]) -> str:
    """Returns the results in Markdown, with the version that they are of."""
    rows = [f"| {one.family} | {one.path} | {one.difference_nats:.1e} |" for one in results]
    head = (
        f"transformers {version('transformers')}, torch {version('torch')}, peft {version('peft')}; float32 on a CPU."
    )
    return "\n".join([head, "", "| family | path | largest difference, nats |", "| --- | --- | ---: |", *rows])


@click.command(help=(__doc__ or "").split("\n", 1)[0])
@click.option("--only", help="Names of families, with commas.")
@click.option("--write", is_flag=True, help="Put the table into the page.")
def main(only: str | None, write: bool) -> None:
    """Measures the families and prints their table."""
    import torch
    from transformers.utils import logging as transformers_logging

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    results = []
    for family in only.split(",") if only else FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(family, Path(folder)))
        print(f"{family}: {results[-1].path}, {results[-1].difference_nats:.1e}", file=sys.stderr, flush=True)
    shown = table(results)
    print(shown)
    if write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", encoding="utf-8")
    sys.exit(0 if all(one.holds for one in results) else 1)


if __name__ == "__main__":
    main()
