"""Whatever stands in a task file: it gives numbers, or one line; never a traceback, never without end."""

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import FUZZED
from hypothesis import given, seed
from hypothesis import strategies as st

from reports.errors import UserError
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import load_tasks, try_with_model
from suites.lm_eval.model import ScorerLM
from suites.lm_eval.tasks import run_tasks

_SECONDS = 10
_GROWTH_KIB = 2 * 2**20
_OUTPUT_TYPES = ["loglikelihood", "multiple_choice", "loglikelihood_rolling", "generate_until"]
_METRICS = {
    "loglikelihood": ["perplexity", "acc"],
    "multiple_choice": ["acc", "acc_norm", "acc_bytes", "f1", "mcc", "brier_score", "acc_mutual_info", "exact_match"],
    "loglikelihood_rolling": ["word_perplexity", "byte_perplexity", "bits_per_byte"],
    "generate_until": ["exact_match", "bleu", "chrf"],
}
_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**400), st.text(max_size=8), st.just([]),
    st.just({}), st.lists(st.integers(-3, 9), max_size=3), st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
    st.sampled_from(["../" * 90, "\x1b[2J", "a\nb", "\ud83d", "nope", "q", "/dev/null", "~", "http://rows.invalid/x"]),
)  # fmt: skip
_RARE = 2
"""What a number is that makes something odd; the first and the last of a range come too often."""


def _mostly(plausible: list[Any]) -> st.SearchStrategy[Any]:
    """One of these, or one time in four something odd."""
    return st.integers(0, 3).flatmap(lambda number: _ODD if number == _RARE else st.sampled_from(plausible))


_TEMPLATES = st.sampled_from(
    ["{{q}}", "q", "{{nope}}", "{{q", "{{ q.x }}", "{{ q * 10**9 }}", "{% for i in range(10**9) %}a{% endfor %}", "",
     "{{ choices }}", "{{ [q] * 10**8 }}", "{{ q.__class__ }}", "{{ right + q }}", "{{ right }}", "right", "3",
     "{{ 10 ** 400 }}", "[1, 2", "{{ '[' * 300 }}", "{{ q | regex_replace('(', '') }}", "{{ 1 / 0 }}", "\u00b2",
     "{% include 'x' %}", "{{ choices[right] }}", "choices", "{{ choices | random }}"]
)  # fmt: skip
_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "task": st.text(max_size=6),
    "group": st.just("both"),
    "class": _ODD,
    "tag": _ODD,
    "include": st.sampled_from(["task.yaml", "other.yaml", "gone.yaml", "broken.yaml", ["other.yaml"], "."]),
    "dataset_path": st.sampled_from(["json", "csv", "text", "arrow", "parquet", ".", "nobody/nothing"]),
    "dataset_name": _ODD,
    "dataset_kwargs": st.fixed_dictionaries(
        {},
        optional={
            "data_files": _mostly(
                ["rows.jsonl", {"test": "rows.jsonl"}, {"test": "empty.jsonl"}, ["broken.yaml"], {"test": "gone.jsonl"}]
            ),
            "field": _ODD,
            "streaming": st.booleans(),
            "num_proc": st.sampled_from([1, -1, "x"]),
            "split": st.sampled_from(["test", "nope"]),
            "trust_remote_code": st.just(True),
        },
    ),
    "test_split": st.sampled_from(["test", "nope", "test[:1]"]),
    "training_split": st.sampled_from(["test", "nope"]),
    "validation_split": st.sampled_from(["test", "nope"]),
    "fewshot_split": st.sampled_from(["test", "nope"]),
    "num_fewshot": st.sampled_from([0, 1, 2, 99, 10**12, -1]),
    "fewshot_config": st.fixed_dictionaries(
        {}, optional={"sampler": st.sampled_from(["default", "first_n", "nope"]), "samples": _ODD, "split": _ODD}
    ),
    "output_type": st.sampled_from([*_OUTPUT_TYPES, "nope"]),
    "doc_to_text": _TEMPLATES,
    "doc_to_target": _TEMPLATES | st.integers(-2, 4),
    "doc_to_choice": _TEMPLATES | st.lists(st.text(max_size=3), max_size=3),
    "description": _TEMPLATES,
    "gen_prefix": _TEMPLATES,
    "target_delimiter": _ODD,
    "fewshot_delimiter": _ODD,
    "doc_to_image": _ODD,
    "process_docs": _ODD,
    "process_results": _ODD,
    "use_prompt": _ODD,
    "repeats": st.sampled_from([1, 2, 0, -1, 10**9]),
    "metric_list": st.lists(
        st.fixed_dictionaries(
            {"metric": _mostly(["acc", "exact_match", "f1", "bleu", "nope"])},
            optional={
                "aggregation": _mostly(["mean", "perplexity", "nope"]),
                "higher_is_better": _ODD,
                "ignore_case": _ODD,
                "hf_evaluate": st.booleans(),
            },
        ),
        max_size=2,
    ),
    "filter_list": st.lists(
        st.fixed_dictionaries(
            {"name": st.text(max_size=4), "filter": st.lists(st.fixed_dictionaries(
                {"function": st.sampled_from(["take_first", "lowercase", "regex", "majority_vote", "nope"])},
                optional={"regex_pattern": _mostly(["(a", "([0-9]+)", ""]), "group_select": _ODD},
            ), max_size=2)},
        ),
        max_size=2,
    ),
    "generation_kwargs": st.fixed_dictionaries(
        {},
        optional={
            "until": _mostly([["\n"], "\n", [""], [5]]),
            "max_gen_toks": _mostly([1, 3, 0, -1, 10**12, "3", 255]),
            "do_sample": _mostly([True, False]),
            "temperature": _mostly([0.0, 1.0, -1.0, "x"]),
            "num_beams": _mostly([1, 2, 0]),
            "nobody": _ODD,
        },
    ),
    "metadata": st.just({"version": 1}),
    "unsafe_code": st.booleans(),
    "should_decontaminate": st.booleans(),
    "aggregate_metric_list": st.just([{"metric": "acc"}]),
    "nobody": _ODD,
}  # fmt: skip
_CHANGES = st.dictionaries(st.sampled_from(sorted(_KEYS)), st.integers(0, 3), max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries({key: _KEYS[key] if number != _RARE else _ODD for key, number in keys.items()})
)
_MEMBERS = st.lists(
    st.one_of(
        st.sampled_from(["other", "nope", "both", "broken"]),
        st.builds(lambda more: {"task": "other"} | more, _CHANGES),
        st.just({"group": "inner", "task": ["other"], "aggregate_metric_list": [{"metric": "acc"}]}),
        _ODD,
    ),
    max_size=3,
)
_RAW = st.tuples(st.floats(0, 1), st.sampled_from(
    ["[" * 3000, "{", "!function os.system", "!!python/object/apply:os.system ['true']", "&a [*a]", "\t", "- ", ": ",
     "#", "\x00", "<<: *x\n", "? ", "'", "...\n", "---\n"]))  # fmt: skip


def base(output_type: str) -> dict[str, Any]:
    """A task that works."""
    return {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "output_type": output_type,
        "doc_to_text": "{{q}}",
        "doc_to_target": "right" if output_type == "multiple_choice" else "{{choices[0]}}",
        **({"doc_to_choice": "choices"} if output_type == "multiple_choice" else {}),
        **({"generation_kwargs": {"until": ["\n"], "max_gen_toks": 2}} if output_type == "generate_until" else {}),
        "metric_list": [{"metric": metric} for metric in _METRICS[output_type][:1]],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of task files and rows, with everything that libraries keep; nothing is asked of the hub."""
    import datasets
    import huggingface_hub

    place = tmp_path_factory.mktemp("tasks")
    rows = [{"q": f"Is it {number}?", "choices": ["Bread", "a tree"], "right": number % 2} for number in range(3)]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "empty.jsonl").write_text("")
    (place / "broken.yaml").write_text("task: [")
    (place / "other.yaml").write_text(json.dumps(base("multiple_choice") | {"task": "other"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(place / "cache"))
        patch.chdir(place)
        yield place


@pytest.fixture(scope="module")
def lm(llama_folder: Path, scorer_of: Any) -> ScorerLM:
    """A tiny model that generates, with log-probabilities by a formula."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama_folder), AutoTokenizer.from_pretrained(llama_folder)
    return ScorerLM(model.eval(), tokenizer, scorer_of(lambda token: -1.0 - token % 7))


def assert_one_line(error: UserError) -> None:
    """The message is what a terminal shows as one line."""
    assert len(str(error).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@seed(15)
@FUZZED
@given(
    output_type=st.sampled_from(_OUTPUT_TYPES),
    changes=_CHANGES,
    members=st.integers(0, 3).flatmap(lambda number: _MEMBERS if number == _RARE else st.none()),
    raw=st.integers(0, 7).flatmap(lambda number: _RAW if number == _RARE else st.none()),
    chat=st.booleans(),
)
def test_any_task_file_gives_numbers_or_one_line(
    folder: Path, lm: ScorerLM, output_type: str, changes: Any, members: Any, raw: Any, chat: bool
) -> None:
    """Tasks and groups with odd values, missing keys, broken YAML and templates without end."""
    content = base(output_type) | changes
    if members is not None:
        content = {"group": "both", "task": members, "aggregate_metric_list": [{"metric": "acc"}]} | changes
    text = json.dumps(content)
    if raw is not None:
        place = int(raw[0] * len(text))
        text = text[:place] + raw[1] + text[place:]
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    # A busy machine says nothing of the code: what counts is what it computes.
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        loaded = load_tasks([TaskSource(str(folder / "task.yaml"))])
        try_with_model(loaded, lm.model, lm.tokenizer, lm.max_length, chat_template=chat, system_prompt=None)
        results = run_tasks(lm, loaded, evaluation="lm_eval", subject="s", chat_template=chat)
        assert all(result.counts.n_scored and result.measurements for result in results)
    except UserError as error:
        assert_one_line(error)
    assert time.process_time() - started < _SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < _GROWTH_KIB
