"""Write the model card of a trained adapter: data, recipe, measurements, and code that loads it.

A value that is not known is left out; it is never shown as 0.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.data.files import format_of
from harness.models.adapter_files.folder import CARD_FILE, FIXTURE_FILE
from harness.models.base_files.folder import EMBEDDED
from harness.training.variants import FIRST_STAGE
from reports.comparing.choice import is_chosen
from reports.comparing.compare import Comparison, compare
from reports.records import Run
from reports.rendering.content.blocks import Paragraph
from reports.rendering.content.differences import first_table
from reports.rendering.content.display import cells
from reports.rendering.content.headline import headline
from reports.rendering.content.names import metric_names
from reports.rendering.content.sections.opening import differences_blocks, headline_blocks
from reports.rendering.content.sections.results import exploratory_section
from reports.rendering.formats.markdown import markdown_blocks, markdown_section
from reports.rendering.formats.markdown_text import escape, escape_line
from reports.whole import write_whole
from suites.engine.chat_template import INSTRUCTION_TEMPLATE
from suites.inputs import content_id

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_METHODS = {"dpo": "DPO", "kto": "KTO", "sft": "supervised fine-tuning"}
_INSTRUCTION_TEMPLATES = (INSTRUCTION_TEMPLATE, "{{ bos_token }}" + INSTRUCTION_TEMPLATE)
"""The instruction template in both forms that `ensure_template` writes."""


def write_card(
    folder: Path,
    *,
    run: Run | None = None,
    candidate: str | None = None,
    comparisons: Sequence[Comparison] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Write README.md into an adapter's folder, replacing an existing one, and return its path.

    Args:
        folder: folder of the adapter.
        run: run that measured it, or None if none has.
        candidate: name of the adapter in the run; None takes the run's first candidate.
        comparisons: comparisons of the run if they are already computed.
        record: content of fixture.json; None reads it from the folder.
    """
    if record is None:
        record = json.loads((folder / FIXTURE_FILE).read_text(encoding="utf-8"))
    if run is not None and candidate is None:
        candidate = next((subject.name for subject in run.candidates), None)
    rows = [] if run is None else list(compare(run) if comparisons is None else comparisons)
    title = "LoRA adapter" if run is None else f"{run.config.get('name', run.name)}: {candidate}"
    datasets = [] if run is None else _trained_on(run.config, candidate)
    is_control = run is not None and any(each.is_control for each in run.subjects if each.name == candidate)
    results = [] if run is None else _results(run, [row for row in rows if row.candidate == candidate])
    sections = [
        f"---\n{_front_matter(record, title, datasets, results)}\n---",
        f"# {escape_line(title)}",
        _opening(record, datasets, is_control=is_control),
        "## Evaluation\n\n" + _evaluation(record, run, candidate, rows),
        "## How to load it\n\n" + _loading(record),
        "## Recipe\n\n" + _recipe_table(record),
        "## Limits\n\n" + _limits(record),
    ]
    return write_whole(folder / CARD_FILE, "\n\n".join(sections) + "\n")


def _trained_on(config: Mapping[str, Any], candidate: str | None) -> list[str]:
    """Return the datasets of an adapter's training stages in order."""
    stages = [config["sft"]["data"]["name"]] if config.get("sft") else []
    if not (stages and candidate == FIRST_STAGE):
        stages.append(config["data"]["training"]["name"])
    return list(dict.fromkeys(stages))


def _front_matter(
    record: Mapping[str, Any], title: str, datasets: Sequence[str], results: Sequence["EvalResult"]
) -> str:
    """Return the hub's metadata as YAML, without names that mean something on this machine only."""
    from huggingface_hub import ModelCardData

    base = record["base"]
    data = ModelCardData(
        base_model=base["name"] if _is_hub_id(base["name"]) else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=[record["recipe"]["training"]["method"], "lora", *(["qlora"] if base["quantization"] != "none" else [])],
        datasets=[name for name in (each.partition(":")[0] for each in datasets) if _is_hub_id(name)] or None,
        model_name=title if results else None,  # the hub requires it with results only
        eval_results=list(results) or None,
    )
    return data.to_yaml()


def _results(run: Run, rows: Sequence[Comparison]) -> list["EvalResult"]:
    """Return the candidate's values in the hub's form: fractions not percentages, and perplexities, not nats."""
    from huggingface_hub import EvalResult

    names, results = metric_names(run), []
    for row in sorted(rows, key=lambda row: not row.primary):
        if row.against not in ("baseline", "definition"):
            continue
        value = cells(row).candidate_number if row.metric.display == "exp" else row.candidate_value
        if value is not None and math.isfinite(value):
            name, configuration, split = _dataset_of(run, row.metric.evaluation)
            results.append(
                EvalResult(
                    task_type="text-generation",
                    dataset_type=name,
                    dataset_name=name if configuration is None else f"{name}:{configuration}",
                    dataset_config=configuration,
                    dataset_split=split,
                    metric_type=row.metric.name.partition("[")[0],
                    metric_name=names[row.metric],
                    metric_value=value,
                    verified=False,
                )
            )
    return results


def _dataset_of(run: Run, evaluation: str) -> tuple[str, str | None, str | None]:
    """Return hub id, configuration and split of an evaluation's dataset, or its own name if that is not on the hub."""
    measured = [each for each in run.counts if each.evaluation == evaluation]
    name, _, configuration = measured[0].dataset_name.partition(":") if len(measured) == 1 else ("", "", "")
    if not _is_hub_id(name):
        return evaluation, None, None
    return name, configuration or None, measured[0].split


def _opening(record: Mapping[str, Any], datasets: Sequence[str], *, is_control: bool) -> str:
    base = record["base"]
    method = record["recipe"]["training"]["method"]
    rows = next((record[key]["training"]["n"] for key in ("rows", "pairs") if key in record), None)
    amount = "" if rows is None else f" on {rows:,} rows"
    source = f" of {' and '.join(escape(name) for name in datasets)}" if datasets else ""
    weights = f"the {_weights(base)} of {escape(_base_name(record))} ({base['fingerprint']})"
    opening = f"A LoRA adapter for {weights}, trained with {_METHODS.get(method, escape(method))}{amount}{source}."
    return f"{opening} It is a control: trained for comparison, not for use." if is_control else opening


def _recipe_table(record: Mapping[str, Any]) -> str:
    """Return a table of all settings that have a value, named as in the configuration."""
    recipe = record["recipe"]
    facts = [
        *_facts("training", recipe["training"]),
        *_facts("lora", recipe["lora"]),
        ("seed", recipe["seed"]),
        ("started from", record.get("start")),
        ("router_aux_loss_coef as trained", record.get("router_aux_loss_coef")),
        ("weights on", _modules(record.get("modules"))),
        ("no weights on", _modules(record.get("untouched_modules"))),
        ("threads", record.get("n_threads")),
        *_facts("version", record["versions"]),
        ("fixture", record.get("fingerprint")),
    ]
    rows = [(escape(name), escape(str(value))) for name, value in facts if value is not None]
    return tabulate(rows, ("setting", "value"), tablefmt="pipe", disable_numparse=True)


def _modules(counted: Any) -> str | None:
    """Return the names of modules with how many there are; None where the record has none."""
    return ", ".join(f"{name} ({n})" for name, n in counted.items()) if isinstance(counted, Mapping) else None


def _facts(section: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        listed = isinstance(value, list | tuple)
        yield f"{section}.{key}", (", ".join(map(str, value)) or None) if listed else value


def _evaluation(
    record: Mapping[str, Any], run: Run | None, candidate: str | None, comparisons: Sequence[Comparison]
) -> str:
    """Return the headline and the first table that a report of this adapter alone has, and its exploratory metrics."""
    rows = [row for row in comparisons if row.candidate == candidate]
    if run is None or candidate is None or not rows:
        return "This adapter has not been measured yet."
    alone = _alone(run, candidate)
    others = [row for row in comparisons if row.candidate in run.subject(candidate).compared_with]
    table = first_table(alone, rows, [])
    opening = [
        Paragraph(run.headline.replace(record["base"]["name"], _base_name(record))),
        *headline_blocks(headline(alone, [*rows, *others], [])),
        *(differences_blocks(table) if table else ()),
    ]
    exploratory = exploratory_section(
        alone, [row for row in rows if row.against in ("baseline", "definition")], candidate
    )
    reading = (
        "The baseline is the same weights with the adapter off, measured on the same examples in the same process. Run "
        f"{escape(run.name)}, suite {escape(run.suite)} ({escape(run.suite_fingerprint)}), {escape(run.created)}."
    )
    folded = [markdown_section(exploratory)] if exploratory.blocks else []
    return "\n\n".join((markdown_blocks(opening), reading, *folded))


def _alone(run: Run, candidate: str) -> Run:
    """Return the run with baseline and rulers, the candidate, and what this one is compared with."""
    kept = {candidate, *run.subject(candidate).compared_with}
    subjects = tuple(each for each in run.subjects if each.kind != "candidate" or each.name in kept)
    names = {each.name for each in subjects}
    return replace(
        run,
        subjects=subjects,
        measurements=tuple(each for each in run.measurements if each.subject in names),
        generations=tuple(each for each in run.generations if each.subject in names),
        training=tuple(row for row in run.training if row.get("candidate", candidate) in names),
        selection=run.selection if is_chosen(run, candidate) else (),
    )


def _loading(record: Mapping[str, Any]) -> str:
    """Return code that loads the adapter on the weights that it was trained on."""
    base, name = record["base"], record["base"]["name"]
    place = json.dumps(name if _is_hub_id(name) else f"path/to/{_base_name(record)}")
    if name == EMBEDDED:
        place = 'str(files("harness") / "embedded" / "base_model")'
    compute_dtype = base.get("compute_dtype", "bfloat16")
    quantisation = (
        "    quantization_config=BitsAndBytesConfig(",
        '        load_in_4bit=True, bnb_4bit_quant_type="nf4",',
        f"        bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.{compute_dtype},",
        "    ),",
    )
    is_quantised = base["quantization"] != "none"
    lines = [
        *(["from importlib.resources import files", ""] if name == EMBEDDED else []),
        "import torch",
        "from peft import PeftModel",
        f"from transformers import AutoModelForCausalLM, AutoTokenizer{', BitsAndBytesConfig' if is_quantised else ''}",
        "",
        f"BASE = {place}",
        'ADAPTER = "path/to/this/folder"',
        "",
        "base = AutoModelForCausalLM.from_pretrained(",
        "    BASE,",
        f"    dtype=torch.{base['dtype']},",
        *(quantisation if is_quantised else []),
        ")",
        "model = PeftModel.from_pretrained(base, ADAPTER).eval()",
        "tokenizer = AutoTokenizer.from_pretrained(BASE)",
    ]
    template = next((each for each in _INSTRUCTION_TEMPLATES if content_id(each) == base.get("template")), None)
    if template is not None:
        lines += ["# The template of the prompts in training:", f"tokenizer.chat_template = {template!r}"]
    return "\n".join(("```python", *lines, "```"))


def _limits(record: Mapping[str, Any]) -> str:
    return (
        "- The numbers describe this adapter. They do not describe its recipe, which takes several training seeds.\n"
        "- The numbers hold for rows like those measured, not for other languages or uses.\n"
        f"- The adapter was trained on {_weights(record['base'])}. On other weights, or merged into them, it is "
        "another model: measure what you deploy.\n"
        "- The licences of the base model and of the data apply."
    )


def _weights(base: Mapping[str, Any]) -> str:
    """Return quantisation or dtype in words, such as "NF4 weights"."""
    return f"{base['dtype']} weights" if base["quantization"] == "none" else f"{base['quantization'].upper()} weights"


def _base_name(record: Mapping[str, Any]) -> str:
    """Return the base's hub id, or the name of its folder without the path on this machine."""
    name: str = record["base"]["name"]
    return name if _is_hub_id(name) else "the embedded model" if name == EMBEDDED else Path(name).name


def _is_hub_id(name: str) -> bool:
    """Return whether a name could be that of a model or dataset on the hub."""
    is_local = name.partition("/")[0] == EMBEDDED or format_of(Path(name)) is not None
    return not is_local and _HUB_ID.fullmatch(name) is not None
