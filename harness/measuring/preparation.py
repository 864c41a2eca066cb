"""Prepares an experiment: resolves its configuration, loads its rows and its base model."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config.load import ConfigError, check_roles, load_experiment, load_suite, with_values
from harness.config.schema import DatasetConfig, EvaluationConfig, ExperimentConfig, SuiteConfig
from harness.config.wording import shown_name
from harness.data.experiment_data import ExperimentData, load_experiment_data
from harness.data.filters import filter_rows
from harness.data.lm_eval_rows import load_local_tasks, not_checked, overlap_queries
from harness.data.load import load_trainable
from harness.data.overlap import notes_on_dropped
from harness.data.read import each_split_once
from harness.data.row import DataError
from harness.measuring.experiment import Experiment, smaller_limit
from harness.measuring.kinds import KINDS, check_gates, roles_of, row_kinds
from harness.measuring.own_rows import of_ones_own, what_rows_carry, with_pairs
from harness.measuring.trained_rows import SeenRows, leave_out_trained
from harness.models.base import LoadedModel, load_model
from harness.models.base_files.folder import EMBEDDED, locate_weights
from harness.models.hub import is_path
from harness.models.opening import named_by
from harness.models.templates import notes_on_trained_template, template_of_folder, with_adapters_template
from harness.models.threads import apply_threads, choose_threads
from harness.processes import n_together, ranks
from harness.terminal import Terminal
from harness.training.shares import check_shares
from harness.training.variants import variants_of, with_sweeps
from harness.workspace import Workspace
from reports.paths import is_address
from reports.run_folder import check_run_folder
from suites.engine.causal_model import check_context
from suites.engine.encoding import Encoder
from suites.lm_eval.loading import TaskSet, try_with_model, without_rows


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line for an experiment."""

    suite: str
    """Name of a suite that ships with the project, or a YAML file."""
    workspace: Path
    """Folder of adapters, runs and scores."""
    data_root: Path | None = None
    """Folder of local data, or None for the hub."""
    preset: str | None = None
    config_file: Path | None = None
    """The user's own experiment, in place of a preset."""
    overrides: tuple[str, ...] = ()
    """Texts `section.key=value`."""
    model: str | None = None
    """Base model, in place of the configuration's."""
    tasks: str | None = None
    """More lm-eval tasks, separated by commas."""
    allow_task_code: bool = False
    """Whether task files of the user's own may bring code."""
    limit: int | None = None
    """Largest number of rows of each evaluation."""
    out: Path | None = None
    """Run folder; None makes one in the workspace."""
    use_cache: bool = True
    """Whether scores are read from and written to the workspace's score cache."""
    sweeps: tuple[str, ...] = ()
    """Texts KEY=V1,V2, in place of the configuration's sweep."""
    seeds: int | None = None
    """Number of training seeds of each candidate."""
    controls: str | None = None
    """Controls, separated by commas."""
    subjects: str | None = None
    """More subjects, separated by commas, each with a plus before it."""
    pairs: str | None = None
    """A file or dataset of the user's own, measured in the roles of preferences and prompts."""
    trains_now: bool = True
    """Whether the command trains adapters on the configured rows, rather than measuring some that exist."""
    trains: bool = True
    """Whether something that is measured is trained on the configured rows, now or earlier by this project; otherwise
    no rows are kept for training."""
    trained_groups: frozenset[str] = frozenset()
    """Groups that adapters were trained on by this project, perhaps for another experiment than this."""
    trained_on: tuple[str, ...] = ()
    """Datasets or files that measured adapters were trained on elsewhere."""
    adapters: tuple[tuple[str, Path], ...] = ()
    """Name and folder of each adapter that exists already, whose chat template may not be the base model's."""
    n_ranks: int = 1
    """Processes that train each adapter together, where this process is none of them."""
    is_of_ones_own: bool = False
    """Whether a model of the user's own is named and no experiment, so that embedded rows do not bind; found out here.
    """


@each_split_once()
def prepare(options: Options) -> Experiment:
    """Loads everything an experiment needs, the cheapest first, so that mistakes show early.

    Raises:
        UserError: a mistake in options, configuration, data or model.
    """
    terminal = Terminal() if ranks().is_first else Terminal.silent()
    suite, config, options, left_out = _resolve(options)
    workspace = Workspace(options.workspace)
    workspace.prepare()
    if options.out is not None:
        check_run_folder(options.out)
    threads = choose_threads(config.model.threads)
    terminal.say(threads.sentence)
    apply_threads(threads)
    for note in left_out:
        terminal.say(note)
    with terminal.waiting("reading rows and loading the base model"):
        data, tasks = _load_rows(suite, config, options)
        check_gates(suite, {name for each in tasks.values() for name in (*each.tasks, *each.groups)})
        with _named_model(options):
            config, template_notes = _with_adapters_template(config, options)
            loaded = load_model(config.model)
        config, length_notes = _within_positions(config, loaded.max_positions, options)
        check_context(loaded.max_positions, config.data.max_tokens)
        encoder = Encoder(
            loaded.tokenizer,
            max_prompt_tokens=config.data.max_prompt_tokens,
            max_tokens=config.data.max_tokens,
            system_prompt=config.model.system_prompt,
            n_embeddings=loaded.n_embeddings,
        )
        _try_tasks(suite, tasks, encoder, loaded)
        data, filtered = _filtered(data, config, encoder)
    template_notes += notes_on_trained_template(loaded.tokenizer.chat_template, dict(options.adapters))
    if options.trains_now and (reasons := data.training_dataset.left_out):
        counts = "; ".join(f"{reason}: {n_rows:,}" for reason, n_rows in reasons.items())
        terminal.say(f"{data.training_dataset.name}: of {data.training_dataset.n_read:,} rows left out: {counts}")
    notes = (*data.notes, *template_notes, *length_notes, *loaded.notes)
    for note in notes:
        terminal.say(note)
    return Experiment(
        config=config,
        suite=suite,
        data=data,
        tasks=tasks,
        loaded=loaded,
        encoder=encoder,
        workspace=workspace,
        out=options.out,
        terminal=terminal,
        limit=options.limit,
        use_cache=options.use_cache,
        filtered=filtered,
        notes=(*left_out, *notes),
        places=_typed_places(options),
        n_ranks=options.n_ranks,
    )


def _typed_places(options: Options) -> tuple[str, ...]:
    """The paths among the options, as texts of the user's and as they are looked for."""
    folders = (options.workspace, options.data_root, options.config_file, options.out)
    typed = (*(folder for _, folder in options.adapters), *filter(None, folders))
    texts = (options.model, options.pairs, *options.trained_on)
    return (*map(str, typed), *filter(None, texts))


def _load_rows(
    suite: SuiteConfig, config: ExperimentConfig, options: Options
) -> tuple[ExperimentData, dict[str, TaskSet]]:
    """Rows to train on and to measure, and lm-eval's tasks, without what was trained on elsewhere."""
    tasks = _load_tasks(suite, config, options)
    queries = {task: rows for loaded in tasks.values() for task, rows in overlap_queries(loaded).items()}
    data = load_experiment_data(
        config.data,
        roles_of(suite),
        data_root=options.data_root,
        seed=config.seed,
        method=config.training.method if options.trains else None,
        sft=None if config.sft is None else config.sft.data,
        task_queries=queries,
    )
    if options.trains_now:
        dropped = notes_on_dropped(data.overlap, is_dropped=config.data.overlap == "drop")
        data = replace(data, notes=(*data.notes, *dropped))
    if options.trains or options.trained_on:
        data = replace(data, notes=(*data.notes, *not_checked(queries)))
    told = {name: load_trainable(DatasetConfig(name), data_root=options.data_root).rows for name in options.trained_on}
    seen = SeenRows(options.trained_groups, told)
    data, found = leave_out_trained(data, config.data, queries, seen, options.pairs)
    by_task = {task.removeprefix("lm_eval/"): rows for task, rows in found.items()}
    return data, {evaluation: without_rows(loaded, by_task) for evaluation, loaded in tasks.items()}


def _with_adapters_template(config: ExperimentConfig, options: Options) -> tuple[ExperimentConfig, list[str]]:
    """The configuration with the chat template that existing adapters were saved with, and messages for the user."""
    if not options.adapters:
        return config, []
    own = template_of_folder(locate_weights(config.model)[1])
    model, notes = with_adapters_template(config.model, own, dict(options.adapters))
    return replace(config, model=model), notes


def _within_positions(
    config: ExperimentConfig, n_positions: int | None, options: Options
) -> tuple[ExperimentConfig, list[str]]:
    """The configuration, with rows cut to a model's positions where the user said nothing about lengths."""
    data = config.data
    chosen = {override.partition("=")[0].strip() for override in options.overrides}
    is_chosen = not options.is_of_ones_own or not chosen.isdisjoint(("data.max_tokens", "data.max_prompt_tokens"))
    if n_positions is None or n_positions >= data.max_tokens or is_chosen:
        return config, []
    data = replace(data, max_tokens=n_positions, max_prompt_tokens=n_positions // 2)
    note = f"{config.model.name} has {n_positions} positions: rows are cut to as many tokens, prompts to half of that"
    return replace(config, data=data), [note]


def _load_tasks(suite: SuiteConfig, config: ExperimentConfig, options: Options) -> dict[str, TaskSet]:
    """The tasks of every evaluation that measures tasks, with their local rows."""
    return {
        evaluation.name: load_local_tasks(
            config.data.tasks[evaluation.role],
            data_root=options.data_root,
            limit=smaller_limit(evaluation.limit, options.limit),
            seed=config.seed,
            allow_code=options.allow_task_code,
        )
        for evaluation in suite.evaluations
        if KINDS[evaluation.kind].rows == "tasks"
    }


def _try_tasks(suite: SuiteConfig, tasks: Mapping[str, TaskSet], encoder: Encoder, loaded: LoadedModel) -> None:
    """Finds what would fail when the tasks meet the model, before anything is trained."""
    for evaluation in suite.evaluations:
        if evaluation.name in tasks:
            try_with_model(
                tasks[evaluation.name],
                loaded.base,
                encoder.tokenizer,
                loaded.max_positions,
                chat_template=evaluation.chat_template,
                system_prompt=encoder.system_prompt if evaluation.chat_template else None,
            )


def _resolve(options: Options) -> tuple[SuiteConfig, ExperimentConfig, Options, tuple[str, ...]]:
    """Suite and experiment after the options of the command line, with every role checked.

    Returns:
        Suite, experiment, the options as they count for it, and a line for each evaluation that has no rows.
    """
    suite = load_suite(options.suite, row_kinds())
    config, options = _experiment_of(options)
    if options.tasks is not None:
        known = config.data.lm_eval_tasks
        if not any(evaluation.role == "lm_eval_tasks" for evaluation in suite.evaluations):
            known = ()  # the suite asks for no tasks of its own
            evaluation = EvaluationConfig("lm_eval", "lm_eval", "lm_eval_tasks")
            suite = replace(suite, evaluations=(*suite.evaluations, evaluation))
        added = _listed(options.tasks)
        config = replace(config, data=replace(config.data, lm_eval_tasks=tuple(dict.fromkeys((*known, *added)))))
    config = with_command_line(config, options)
    for variant in variants_of(config):  # which finds mistakes of a sweep before anything is loaded
        check_shares(variant.recipe.training, n_together(options.n_ranks))
    left_out: tuple[str, ...] = ()
    if is_path(config.model.name) or is_address(config.model.name):
        with _named_model(options):
            locate_weights(config.model)  # a folder that is not there is the first thing to know
    if options.is_of_ones_own or options.pairs is not None:
        suite, left_out = what_rows_carry(suite, config, options.pairs, options.data_root)
    check_roles(config, suite, row_kinds())
    return suite, config, options, left_out


def _named_model(options: Options) -> AbstractContextManager[None]:
    """A block in which errors of the base model name the option that was typed."""
    return named_by(f"--model {options.model}") if options.model is not None else nullcontext()


def _experiment_of(options: Options) -> tuple[ExperimentConfig, Options]:
    """The experiment of a preset, of a file or of the user's own rows; and the options as they count for it."""
    config = load_experiment(options.preset, options.config_file, options.overrides)
    is_named = options.preset is not None or options.config_file is not None
    model = options.model or config.model.name
    options = replace(options, is_of_ones_own=not is_named and model != EMBEDDED)
    if options.pairs is not None:
        own = with_pairs(options.overrides, options.pairs, trains_on_them=options.is_of_ones_own)
        options = replace(options, overrides=own)
        config = load_experiment(options.preset, options.config_file, options.overrides)
    config = _without_pinned_types(_with_model(config, options), options)
    if not options.is_of_ones_own:
        return config, options
    config = of_ones_own(config, options.overrides)
    if options.trains_now:
        return config, options
    if options.trained_on:
        config = replace(config, data=replace(config.data, training=DatasetConfig(options.trained_on[0])))
    return config, replace(options, trains=False)


def _with_model(config: ExperimentConfig, options: Options) -> ExperimentConfig:
    """The configuration with the base model of the command line, which the revision of another one does not concern."""
    if options.model is None or options.model == config.model.name:
        return config
    is_chosen = any(override.partition("=")[0].strip() == "model.revision" for override in options.overrides)
    revision = config.model.revision if is_chosen else None
    return replace(config, model=replace(config.model, name=options.model, revision=revision))


def _without_pinned_types(config: ExperimentConfig, options: Options) -> ExperimentConfig:
    """The configuration, with the types of an embedded preset at auto where another model replaces the embedded one.

    They are float32 there so that the embedded model's numbers are the same everywhere; another model computes in what
    its device does fast, unless `-o` or a file of the user's own says otherwise.
    """
    if config.model.name == EMBEDDED or options.config_file is not None:
        return config
    if load_experiment(options.preset, None, ()).model.name != EMBEDDED:
        return config
    chosen = {override.partition("=")[0].strip() for override in options.overrides}
    pinned = [key for key in ("model.dtype", "model.compute_dtype") if key not in chosen]
    return with_values(config, dict.fromkeys(pinned, "auto"))


def with_command_line(config: ExperimentConfig, options: Options) -> ExperimentConfig:
    """The configuration with the sweeps, seeds, controls and subjects of the command line.

    Raises:
        ConfigError: a sweep, a control or a subject that does not exist.
    """
    config = with_sweeps(config, options.sweeps)
    named: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if options.seeds is not None:
        named["seeds"], origins["seeds"] = options.seeds, f"--seeds {options.seeds}"
    if options.controls is not None:
        named["controls"], origins["controls"] = _listed(options.controls), f"--controls {shown_name(options.controls)}"
    if options.subjects is not None:
        listed, origins["subjects"] = _listed(options.subjects), f"--subjects {shown_name(options.subjects)}"
        if not all(name.startswith("+") for name in listed):
            raise ConfigError(f"{origins['subjects']}: write +NAME, since the baseline is always measured")
        named["subjects"] = [name.removeprefix("+") for name in listed]
    return with_values(config, named, origins) if named else config


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _filtered(
    data: ExperimentData, config: ExperimentConfig, encoder: Encoder
) -> tuple[ExperimentData, dict[str, int]]:
    """Keeps the training and selection rows that pass the configured filters, and counts what each left out."""
    filters = config.data.filters
    training, selection = (filter_rows(rows, filters, encoder) for rows in (data.training, data.selection))
    sft, sft_selection = (filter_rows(rows, filters, encoder) for rows in (data.sft, data.sft_selection))
    if (data.training and not training.rows) or (data.sft and not sft.rows):
        n_rows = len(data.sft) if training.rows else len(data.training)
        raise DataError(f"data.filters leave none of the {n_rows} training rows: loosen them")
    kept = replace(
        data, training=training.rows, selection=selection.rows, sft=sft.rows, sft_selection=sft_selection.rows
    )
    return kept, dict(Counter(training.left_out) + Counter(selection.left_out))
