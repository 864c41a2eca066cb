"""Numbers that are NaN or infinite choose nothing and count as nothing: the value is missing, with its reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import load_tasks
from suites.lm_eval.model import ScorerLM
from suites.lm_eval.tasks import run_tasks

OUTPUT_TYPES = ["loglikelihood", "multiple_choice", "loglikelihood_rolling"]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("output_type", OUTPUT_TYPES)
def test_log_probabilities_that_are_not_finite_choose_no_answer(
    write_task: Callable[..., str], both_models: tuple[ScorerLM, Any], scorer_of: Any, output_type: str, value: float
) -> None:
    """Where lm-eval's argmax would take the first NaN for the model's choice."""
    ours = both_models[0]
    broken = ScorerLM(ours.model, ours.tokenizer, scorer_of(lambda _: value))

    [result] = run_tasks(broken, load_tasks([TaskSource(write_task(output_type))]), evaluation="lm_eval", subject="s")

    for one in result.measurements:
        assert (one.scores, one.value, one.is_finite) == ((), None, False)
        assert one.missing == "log-probabilities are not finite in 6 of 6 rows"


@pytest.mark.parametrize("n_broken", [1, 4])
def test_answers_chosen_by_logits_that_are_not_finite_are_no_answers(
    write_task: Callable[..., str], both_models: tuple[ScorerLM, Any], n_broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where lm-eval would decode token 0 and count it as wrong; one such row is enough, and is told by number."""
    import torch

    ours = both_models[0]
    own, n_calls = ours.model.forward, 0

    def broken(*arguments: Any, **options: Any) -> Any:
        nonlocal n_calls
        output = own(*arguments, **options)
        if n_calls == 0:
            output.logits[:n_broken] = torch.nan
        n_calls += 1
        return output

    monkeypatch.setattr(ours.model, "forward", broken)
    loaded = load_tasks([TaskSource(write_task("generate_until", n_rows=4))])
    ours.scored_by(lambda _: [])
    [result] = run_tasks(ours, loaded, evaluation="lm_eval", subject="s")
    monkeypatch.undo()
    [healthy] = run_tasks(ours, loaded, evaluation="lm_eval", subject="s")

    assert [(one.scores, one.value, one.is_finite, one.missing) for one in result.measurements] == [
        ((), None, False, f"log-probabilities are not finite in {n_broken} of 4 rows")
    ]
    assert healthy.measurements[0].is_finite is False  # until another subject is scored
    ours.scored_by(lambda _: [])
    [healthy] = run_tasks(ours, loaded, evaluation="lm_eval", subject="t")
    assert len(healthy.measurements[0].scores) == 4


def test_a_perplexity_that_is_too_large_is_missing_and_ends_nothing(
    write_task: Callable[..., str], both_models: tuple[ScorerLM, Any], scorer_of: Any
) -> None:
    """A text without spaces is one word; lm-eval's exponential of its nats overflows after everything was computed."""
    hopeless = ScorerLM(both_models[0].model, both_models[0].tokenizer, scorer_of(lambda _: -1000.0))

    [result] = run_tasks(
        hopeless, load_tasks([TaskSource(write_task("loglikelihood_rolling"))]), evaluation="lm_eval", subject="s"
    )

    by_name = {one.metric.name: one for one in result.measurements}
    assert (by_name["word_perplexity"].value, by_name["word_perplexity"].missing) == (None, "not a finite number")
    assert by_name["bits_per_byte"].value is not None


def test_a_group_with_numbers_that_are_not_finite_has_none(
    write_task: Callable[..., str], both_models: tuple[ScorerLM, Any], scorer_of: Any, tmp_path: Path
) -> None:
    """lm-eval's sum of what an argmax of NaN chose is no number of the group either."""
    write_task("multiple_choice", name="first")
    group = tmp_path / "group.yaml"
    group.write_text("group: all\ntask: [first]\naggregate_metric_list: [{metric: acc}]\n")
    broken = ScorerLM(both_models[0].model, both_models[0].tokenizer, scorer_of(lambda _: float("nan")))

    all_of_it, first = run_tasks(broken, load_tasks([TaskSource(str(group))]), evaluation="lm_eval", subject="s")

    for result in (all_of_it, first):
        for one in result.measurements:
            assert (one.scores, one.value, one.is_finite) == ((), None, False)
            assert one.missing == "log-probabilities are not finite in 6 of 6 rows"
    assert all_of_it.counts.dataset == "1 tasks of lm-eval's group all"
