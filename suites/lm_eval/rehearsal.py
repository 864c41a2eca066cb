"""Goes through a task as lm-eval will, without a model: what fails then would fail after everything was computed."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from reports.plain_text import one_line
from suites.lm_eval.faults import TaskLoadError

_ANSWERS = ("", "1", "Yes, it is. The answer is 2.")
"""Made-up answers, in turn."""

_OF_LM_EVAL = ("until", "max_gen_toks")
"""Settings of generated answers that are lm-eval's own; all others are those of transformers."""


def rehearse(
    name: str, task: Any, rows: Sequence[int] | None, *, tokenizer: Any = None, system_prompt: str | None = None
) -> dict[str, Any]:
    """Lets lm-eval's evaluator ask, score and sum up a task with made-up answers.

    Args:
        name: Name of the task.
        task: lm-eval's task.
        rows: Indices of the rows to measure; None, or empty, for all.
        tokenizer: A tokenizer whose chat template renders the prompts; None asks without one.
        system_prompt: System instruction before every prompt; None for none.

    Returns:
        lm-eval's results of the task, of no meaning but their form.

    Raises:
        TaskLoadError: A row has no right answer among its choices. Whatever else is raised is of the task's own.
    """
    from lm_eval.evaluator import evaluate

    from suites.lm_eval.model import compiled_once, quiet

    with quiet(), compiled_once():
        results = evaluate(
            _stand_in(tokenizer),
            {"tasks": {name: task}},
            samples={name: [*rows]} if rows else None,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=tokenizer is not None,
            fewshot_as_multiturn=True,
            system_instruction=system_prompt,
        )
        for sample in results["samples"][name]:
            _check_target(task, sample)
    own: dict[str, Any] = results["results"][name]
    if not any("," in key for key in own):
        raise TaskLoadError(
            f"lm-eval task {one_line(name)}: it measures nothing: give it a metric, and no empty filters"
        )
    return own


def answer_one_token(task: Any, model: Any, tokenizer: Any) -> None:
    """Lets a model generate one token by a task's settings, which transformers judges only then."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.utils import normalize_gen_kwargs

    from suites.lm_eval.model import ScorerLM

    settings: dict[str, Any] = dict(normalize_gen_kwargs(dict(task.config.generation_kwargs or {})))
    for own in _OF_LM_EVAL:
        settings.pop(own)
    lm = ScorerLM(model, tokenizer, lambda _: [])
    context = torch.zeros((1, 1), dtype=torch.long, device=lm.device)
    HFLM._model_generate(  # noqa: SLF001 - as it is called for all rows
        lm, context, max_length=2, stop=[], attention_mask=torch.ones_like(context), **settings
    )


def rehearse_group(group: Any, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Lets lm-eval sum up the results of a group's tasks."""
    from suites.lm_eval.model import quiet

    with quiet():
        group.aggregate(dict(results))


def _check_target(task: Any, sample: Mapping[str, Any]) -> None:
    """Refuses a row whose right answer is none of its choices, which lm-eval would count as wrong for any model."""
    config = task.config
    if getattr(config, "doc_to_choice", None) is None or callable(config.process_results):
        return
    choices = task.doc_to_choice(sample["doc"])
    right = task.doc_to_text(sample["doc"]) if getattr(task, "multiple_input", 0) else sample["target"]
    for each in right if isinstance(right, list) else [right]:
        is_there = 0 <= each < len(choices) if isinstance(each, int) else each in choices
        if not is_there:
            raise TaskLoadError(
                f"lm-eval task {one_line(str(config.task))}: row {sample['doc_id']}: the target {one_line(repr(each))} "
                f"is none of its {len(choices)} choices; doc_to_target gives the number of the right one, from 0"
            )


def _check_texts(prompt: Any, answer: Any = "", *, may_be_empty: bool = True) -> None:
    """Refuses what a model cannot read."""
    for name, text in (("doc_to_text", prompt), ("doc_to_target or doc_to_choice", answer)):
        if not isinstance(text, str):
            raise TypeError(f"{name} must give texts, got {text!r:.100}")
    if not answer and not may_be_empty:
        raise ValueError("doc_to_target or doc_to_choice gives an answer that is empty")


def _check_generation(options: Mapping[str, Any]) -> None:
    """Refuses settings of generated answers that the model would refuse."""
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
    from transformers import GenerationConfig

    settings = normalize_gen_kwargs(dict(options))
    stops = handle_stop_sequences(settings["until"], eos=None)
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise TypeError(f"generation_kwargs.until must be texts that are not empty, got {stops}")
    known = GenerationConfig()
    unknown = [str(name) for name in settings if name not in _OF_LM_EVAL and not hasattr(known, str(name))]
    if unknown:
        raise ValueError(f"generation_kwargs: transformers knows no {', '.join(unknown)}")


def _stand_in(own_tokenizer: Any) -> Any:
    """A model of lm-eval that answers at once."""
    from lm_eval.api.model import LM
    from lm_eval.models.huggingface import HFLM

    class StandIn(LM):  # type: ignore[misc]
        tokenizer = own_tokenizer
        tokenizer_name = ""
        chat_template_args: Mapping[str, Any] = {}
        apply_chat_template = HFLM.apply_chat_template

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            for request in requests:
                _check_texts(*request.args, may_be_empty=False)
            return [(-1.0, False) for _ in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            for request in requests:
                _check_texts("", *request.args)
            return [-1.0 for _ in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            for request in requests:
                _check_texts(request.args[0])
                _check_generation(request.args[1])
            return list(islice(cycle(_ANSWERS), len(requests)))

    return StandIn()
