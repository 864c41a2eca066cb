"""Keep folders of this machine out of a run's reports: what lies in them is named by its last parts."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate
from reports.paths import short_paths, with_short_paths
from reports.records import Run


def without_places(run: Run, experiment: Experiment, candidates: Sequence[Candidate]) -> Run:
    """The run as its reports show it; its configuration, which they do not show, keeps all paths.

    Args:
        run: what was measured.
        experiment: what it was measured on; the paths that were typed or configured for it are known.
        candidates: its candidates, with the paths of their adapters and models.
    """
    config = experiment.config
    datasets = [config.data.training, *config.data.roles.values(), *([] if config.sft is None else [config.sft.data])]
    named = [experiment.loaded.name, config.model.name, config.model.chat_template, *(each.name for each in datasets)]
    named += [each.adapter if each.model is None else each.model.name for each in candidates]
    short = short_paths(filter(None, (*named, *experiment.places)))

    def shown(text: str) -> str:
        return with_short_paths(text, short)

    base = run.provenance["base"]
    return replace(
        run,
        headline=shown(run.headline),
        subjects=tuple(replace(each, description=shown(each.description)) for each in run.subjects),
        counts=tuple(
            replace(each, dataset=shown(each.dataset), dataset_name=shown(each.dataset_name)) for each in run.counts
        ),
        notes=tuple(map(shown, run.notes)),
        not_measured=tuple(map(shown, run.not_measured)),
        provenance=run.provenance | {"base": base | {"name": shown(base["name"])}, "command": command(sys.argv)},
    )


def command(arguments: Sequence[str]) -> list[str]:
    """The command as it was typed, but for the folders of each path from the root."""
    program, *rest = arguments
    name = PurePath(program).name
    return ["harness" if name == "__main__.py" else name, *map(_shown_argument, rest)]


def _shown_argument(argument: str) -> str:
    """An argument with its path shortened: the whole of it, or what stands behind an equals sign."""
    key, equals, value = argument.rpartition("=")
    return f"{key}{equals}{short_paths([value]).get(value, value)}"
