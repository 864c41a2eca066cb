"""Candidates that exist already: adapters with what they were trained from, and full models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.schema import ExperimentConfig
from harness.measuring.lineup import Candidate, named_models, with_unquantised, without_reference
from harness.models.adapter_files.folder import CONFIG_FILE, GROUPS_FILE, WEIGHTS_FILE, locate_adapter
from harness.models.origin import Origin, origin_of_adapter, origin_of_model
from harness.training.variants import FIRST_STAGE
from reports.paths import expanded


@dataclass(frozen=True, slots=True)
class ExistingAdapter:
    """An adapter that was trained before."""

    name: str
    path: str
    """Folder or hub id, as it was given."""
    folder: Path
    origin: Origin


def find_adapters(adapters: Mapping[str, str], fixtures: Path) -> tuple[ExistingAdapter, ...]:
    """Finds adapters, and after them those that their training started from.

    A start is one of the adapters, or lies beside the adapter or among the workspace's fixtures; nothing is fetched
    that the command does not name.

    Args:
        adapters: name -> folder or hub id.
        fixtures: the workspace's folder of trained adapters.

    Raises:
        AdapterError: an adapter is missing or damaged.
    """
    found = [_existing(name, path) for name, path in adapters.items()]
    for each in found:  # grows while a start has a start of its own
        if each.origin.start is None or _start_of(each, found) is not None:
            continue
        folder = _folder_of_start(each, fixtures)
        if folder is not None and all(folder.resolve() != other.folder.resolve() for other in found):
            found.append(_existing(_free_name(each, {other.name for other in found}), str(folder)))
    return tuple(found)


def existing_candidates(
    config: ExperimentConfig,
    adapters: Sequence[ExistingAdapter],
    models: Sequence[str],
    trained_on: Sequence[str] = (),
    pairs: str | None = None,
) -> tuple[Candidate, ...]:
    """Candidates from adapters and full models that exist already.

    An adapter's implicit reward has the beta it was trained with, and is taken against what its training started from.
    Where nothing says these, the configured beta and the baseline are taken, and the report marks it.

    Args:
        config: the experiment.
        adapters: as `find_adapters` returns them.
        models: texts NAME=PATH.
        trained_on: what those whose rows are not known were trained on, as the user says.
        pairs: rows of the user's own that are measured, which no experiment kept from training.

    Raises:
        AdapterError: a text without a name or a path, or a name that is taken.
    """
    candidates = [*(_candidate(each, adapters, config) for each in adapters), *named_models(models, config)]
    if pairs is not None:
        groups = {each.name: each.origin.groups for each in adapters}
        groups |= {name: origin_of_model(expanded(path)).groups for name, _, path in _parted(models)}
        unlisted = {each.name for each in candidates if each.knows_rows and not groups[each.name]}
        candidates = [_unknown(each, pairs) if each.name in unlisted else each for each in candidates]
    if trained_on:
        candidates = [each if each.knows_rows else _known(each, trained_on) for each in candidates]
    return with_unquantised(config, candidates)


def own_origins(adapters: Sequence[ExistingAdapter], models: Sequence[str]) -> tuple[Origin, ...]:
    """Origins of the adapters that this project trained, and of those that were merged into models (NAME=PATH)."""
    merged = (origin_of_model(expanded(path)) for _, _, path in _parted(models))
    return tuple(origin for origin in (*(each.origin for each in adapters), *merged) if origin.is_own)


def _parted(models: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return (text.partition("=") for text in models)


def _unknown(candidate: Candidate, pairs: str) -> Candidate:
    """A candidate of this project whose folder does not list the groups that it was trained on."""
    note = (
        f"{candidate.name} was trained by this project, and its folder has no {GROUPS_FILE} that lists on what: "
        f"whether it saw rows of {pairs} in training is not known. Name what it was trained on with --trained-on."
    )
    return replace(candidate, knows_rows=False, notes=(*candidate.notes, note))


def _known(candidate: Candidate, trained_on: Sequence[str]) -> Candidate:
    """A candidate whose rows the user names."""
    note = f"{candidate.name} was trained on {' and '.join(trained_on)}, as --trained-on says."
    return replace(candidate, knows_rows=True, notes=(*candidate.notes, note))


def _existing(name: str, path: str) -> ExistingAdapter:
    folder = locate_adapter(path)
    return ExistingAdapter(name, path, folder, origin_of_adapter(folder))


def _candidate(adapter: ExistingAdapter, adapters: Sequence[ExistingAdapter], config: ExperimentConfig) -> Candidate:
    origin = adapter.origin
    candidate = Candidate(
        adapter.name,
        f"adapter {adapter.path}",
        adapter=adapter.path,
        reference_basis="recorded" if origin.says_start else "assumed",
        beta=config.training.beta if origin.beta is None else origin.beta,
        beta_basis="assumed" if origin.beta is None else "recorded",
        knows_rows=origin.is_own,
    )
    if origin.start is None:
        return candidate
    start = _start_of(adapter, adapters)
    if start is None:
        return without_reference(candidate, origin.start)
    return replace(candidate, reference=start.name, compared_with=(start.name,))


def _start_of(adapter: ExistingAdapter, adapters: Sequence[ExistingAdapter]) -> ExistingAdapter | None:
    """The adapter among these that another one's training started from."""
    start = adapter.origin.start
    return next(
        (
            each
            for each in adapters
            if each.name != adapter.name
            and start is not None
            and (start in (each.origin.fingerprint, each.path) or each.folder.resolve() == Path(start).resolve())
        ),
        None,
    )


def _folder_of_start(adapter: ExistingAdapter, fixtures: Path) -> Path | None:
    """The folder of an adapter's start on this disk, None where it is not here."""
    start = adapter.origin.start
    assert start is not None
    for folder in (adapter.folder.resolve().parent / start, fixtures / start, expanded(start)):
        is_there = all((folder / file).is_file() for file in (CONFIG_FILE, WEIGHTS_FILE))
        if is_there and (not _is_fingerprint(adapter, start) or origin_of_adapter(folder).fingerprint == start):
            return folder
    return None


def _is_fingerprint(adapter: ExistingAdapter, start: str) -> bool:
    """Whether a start is named by the fingerprint of a fixture, which its record must then repeat."""
    return adapter.origin.is_own and Path(start).name == start


def _free_name(adapter: ExistingAdapter, taken: set[str]) -> str:
    """A name for an adapter's start: the first stage's, as where both are trained, unless it is taken."""
    name = FIRST_STAGE if FIRST_STAGE not in taken else f"start of {adapter.name}"
    while name in taken:
        name = f"start of {name}"
    return name
