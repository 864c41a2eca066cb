"""`harness eval` of an adapter and rows that are the user's own."""

import json
import math
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.measuring import dry_run, run
from reports.run_folder import read_run
from reports.whole import is_unused
from suites.engine.cache.score_cache import ScoreCache

Harness = Callable[..., Any]
N_PROMPTS = 12


def answer(number: int, words: int) -> str:
    """An answer of so many words."""
    known = ("watermelon", "seeds", "pass", "through", "your", "digestive", "system", "too", "large", "suitcase")
    return " ".join(known[(number + 3 * index) % len(known)] for index in range(words))


ROWS = [
    {"prompt": f"What is a telescope {n % N_PROMPTS}?", "chosen": answer(n, 3 + n % 5), "rejected": answer(n + 7, 4)}
    for n in range(N_PROMPTS + 4)
]
"""Pairs, four of them about a prompt that another one has."""


@pytest.fixture(scope="module")
def adapter(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of another tool, which names its base."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(llama_folder), config)
    model.peft_config["default"].base_model_name_or_path = str(llama_folder)
    folder = tmp_path_factory.mktemp("theirs") / "adapter"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """The rows in a file."""
    file = tmp_path / "my_pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def own_reward_accuracy(base: Path, adapter: Path) -> float:
    """Share of pairs whose chosen answer gained more log-probability, by one plain forward an answer."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()

    def log_probability(prompt: str, response: str) -> float:
        turns = [{"role": "user", "content": prompt}]
        before = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": response}], tokenize=False)
        n_before = len(tokenizer(before, add_special_tokens=False).input_ids)
        ids = tokenizer(whole, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.inference_mode():
            logits = model(ids).logits[0, :-1].double().log_softmax(-1)
        return float(logits.gather(1, ids[0, 1:, None])[n_before - 1 :].sum())

    def gain(row: dict[str, str], side: str) -> float:
        tuned = log_probability(row["prompt"], row[side])
        with model.disable_adapter():
            return tuned - log_probability(row["prompt"], row[side])

    margins = [gain(row, "chosen") - gain(row, "rejected") for row in ROWS]
    return sum(margin > 0 for margin in margins) / len(margins)


def test_pairs_of_ones_own_are_measured_without_a_line_of_yaml(
    adapter: Path, llama_folder: Path, pairs: Path, harness: Harness, tmp_path: Path
) -> None:
    """Reward accuracy is that of plain forwards, by prompt; what has no rows is left out with a line."""
    out = tmp_path / "run"
    outcome = harness(
        "eval", "--model", llama_folder, "--adapter", f"mine={adapter}", "--pairs", pairs, "--out", out,
        "-o", "model.quantization=none",
    )  # fmt: skip

    assert outcome.exit_code == 0, outcome.err
    run = read_run(out)
    (accuracy,) = [each for each in run.measurements if (each.metric.name, each.subject) == ("reward_accuracy", "mine")]
    share = sum(score.total for score in accuracy.scores) / len(accuracy.scores)
    assert math.isclose(share, own_reward_accuracy(llama_folder, adapter), abs_tol=1e-9)
    assert len({score.group for score in accuracy.scores}) == N_PROMPTS
    counts = {each.evaluation: (each.n_scored, each.n_groups) for each in run.counts}
    n_rows = len(ROWS)
    assert counts == {
        "preferences": (n_rows, N_PROMPTS), "chosen_answers": (n_rows, N_PROMPTS),
        "answers": (N_PROMPTS, N_PROMPTS), "drift": (N_PROMPTS, N_PROMPTS),
    }  # fmt: skip
    assert "truthfulness is left out with its gate: no rows are named for truthfulness" in outcome.err
    assert f"{llama_folder} has 256 positions: rows are cut to as many tokens, prompts to half of that" in outcome.err
    assert {each.subject for each in run.measurements} == {"baseline", "mine", "longest wins", "shortest wins"}
    assert run.config["data"]["roles"].keys() == {"preferences", "prompts"}
    assert "Chosen answers, perplexity" in outcome.out
    named = [file for file in out.iterdir() if file.suffix in (".md", ".csv", ".html", ".jsonl")]
    record = asdict(replace(run, config={}, measurements=()))
    texts = [file.read_text() for file in named] + [json.dumps(record, ensure_ascii=False, default=str)]
    assert len(named) == 6
    assert not [text[:80] for text in texts if str(tmp_path.parent) in text]  # where all folders of this test are
    assert any(f"\u2026/{llama_folder.name} has 256 positions" in note for note in run.notes)
    assert [each.description for each in run.subjects if each.name == "mine"] == [
        f"\u2026/{llama_folder.name}, none, float32 on cpu; adapter \u2026/{adapter.name}"
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--pairs", ""), "--pairs: name a file or a dataset"),
        (("--pairs", "nowhere.jsonl"), "nowhere.jsonl: no such file or folder"),
        (("--pairs", "odd.jsonl"), "what its columns hold is not known (x)"),
        ((), "nothing says which rows"),
    ],
)
def test_a_mistake_with_rows_of_ones_own_is_one_line(
    options: tuple[str, ...], expected: str, adapter: Path, harness: Harness, tmp_path: Path
) -> None:
    """Before the model is loaded."""
    (tmp_path / "odd.jsonl").write_text('{"x": 1}\n')
    outcome = harness("eval", "--adapter", adapter, *options)

    assert outcome.exit_code == 2
    assert expected in outcome.err.strip().splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert "Loading weights" not in outcome.err


@pytest.mark.slow
def test_a_dry_run_counts_what_the_run_computes(
    adapter: Path, llama_folder: Path, pairs: Path, harness: Harness, tmp_path: Path
) -> None:
    """Rows and scores of every kind of evaluation, lm-eval's tasks too; a second one finds all scores in the cache."""
    workspace = tmp_path / "workspace"
    same = (
        "eval", "--preset", "tiny", "--model", llama_folder, "--adapter", adapter, "--pairs", pairs, "--limit", "6",
        "--workspace", workspace, "-o", "model.quantization=none", "-o", "data.max_tokens=200",
    )  # fmt: skip

    first = harness(*same, "--dry-run")
    assert first.exit_code == 0, first.err
    assert not list((workspace / "runs").iterdir())
    heads, _, *lines = first.out.partition("\n\n")[0].splitlines()
    assert heads.split() == ["evaluation", "rows", "requests", "tokens", "new", "tokens,", "at", "most"]
    rows = {line.split()[0]: int(line.split()[1]) for line in lines}
    with ScoreCache.open(workspace / "scores.sqlite", print) as cache:
        assert cache.info().n_scores == 0
    n_packs = int(re.search(r"tokens in ([\d,]+) packs", first.out)[1])
    assert re.search(
        r"^time +about \d+ s, .*baseline [\d,]+ tokens/s, adapter [\d,]+ tokens/s", first.out, re.MULTILINE
    )
    assert re.search(r"^memory +fits: ", first.out, re.MULTILINE)

    done = harness(*same, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.err
    measured = Counter[str]()
    for each in read_run(tmp_path / "run").counts:
        measured[each.evaluation.partition("/")[0]] += each.n_scored
    assert rows == measured

    again = harness(*same, "--dry-run")
    assert (
        f"0 tokens in 0 packs, shared beginnings once; {n_packs} of {n_packs} packs are in the score cache" in again.out
    )
    anew = harness(*same, "--dry-run", "--no-cache")
    assert f" tokens in {n_packs} packs, shared beginnings once\n" in anew.out


def test_a_base_that_the_adapter_does_not_name_is_said_before_scoring(
    adapter: Path, llama_folder: Path, pairs: Path, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a dry run too; the verdict says it among what limits belief."""
    other = Path(shutil.copytree(llama_folder, tmp_path / "elsewhere"))
    suite = tmp_path / "mine.yaml"
    suite.write_text("name: mine\nevaluations: [{name: pairs, kind: reward, role: preferences, limit: 4}]\n")
    same = (
        "eval", "--suite", suite, "--model", other, "--adapter", adapter, "--pairs", pairs,
        "-o", "model.quantization=none",
    )  # fmt: skip
    score = run.run_suite

    def scored(*arguments: Any) -> Any:
        sys.stderr.write("scoring begins")
        return score(*arguments)

    monkeypatch.setattr(run, "run_suite", scored)
    said = f"names the base model {llama_folder} and is measured on {other}"

    assert said in harness(*same, "--dry-run").err
    done = harness(*same, "--out", tmp_path / "run")

    assert done.exit_code == 0, done.err
    assert done.err.index(said) < done.err.index("scoring begins")
    assert not read_run(tmp_path / "run").subject("adapter").is_of_base
    assert "Its files name another base model or none" in (tmp_path / "run" / "report.md").read_text()


def test_an_adapter_is_held_while_it_is_measured(
    adapter: Path, llama_folder: Path, pairs: Path, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that `harness prune` leaves it; afterwards it is free."""
    held: list[bool] = []

    def look(*_: object) -> Iterator[str]:
        held.append(is_unused(adapter))
        return iter(())

    monkeypatch.setattr(dry_run, "estimate", look)
    done = harness(
        "eval", "--model", llama_folder, "--adapter", adapter, "--pairs", pairs, "--dry-run", "-o",
        "model.quantization=none",
    )  # fmt: skip

    assert (done.exit_code, held) == (0, [False])
    assert is_unused(adapter)


def test_a_name_that_would_break_a_line_is_refused(adapter: Path, harness: Harness) -> None:
    """It stands in every table."""
    outcome = harness("eval", "--adapter", f"a\nb={adapter}")

    assert outcome.exit_code == 2
    assert "its name holds control characters; write --adapter NAME=PATH" in outcome.err


def test_a_task_of_generated_answers_is_counted(llama_folder: Path) -> None:
    """By its prompts and the longest answer that it allows, without an answer being generated."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from suites.lm_eval.counting import CountingLM

    lm = CountingLM(AutoModelForCausalLM.from_pretrained(llama_folder), AutoTokenizer.from_pretrained(llama_folder))
    settings = ({"until": ["\n"], "max_gen_toks": 40}, {"until": ["\n"], "max_gen_toks": 8})
    answers = lm.generate_until([SimpleNamespace(args=("What is 1 + 1?", each)) for each in settings])

    assert answers == ["", ""]
    assert (len(lm.prompts), lm.max_new_tokens, lm.asked) == (2, 40, ())
    assert lm.loglikelihood_rolling([SimpleNamespace(args=("The trophy does not fit.",))]) == [0.0]
    assert len(lm.asked) == 1
