"""The list of datasets that rows can be taken from by name, as `harness list datasets` prints it."""

from harness.config.wording import did_you_mean
from harness.data.read import EMBEDDED_PREFIX
from harness.data.row import DataError
from harness.data.sources import (
    eli5,
    embedded,
    hc3,
    hh_rlhf,
    orca,
    pku,
    preferences,
    summaries,
    truthfulqa,
    ultrafeedback,
    webgpt,
    winogrande,
)
from harness.data.sources.entry import DatasetEntry

_ENTRIES: tuple[DatasetEntry, ...] = (
    *embedded.DATASETS,
    *truthfulqa.DATASETS,
    *winogrande.DATASETS,
    *pku.DATASETS,
    *hh_rlhf.DATASETS,
    *ultrafeedback.DATASETS,
    *preferences.DATASETS,
    *orca.DATASETS,
    *webgpt.DATASETS,
    *summaries.DATASETS,
    *eli5.DATASETS,
    *hc3.DATASETS,
)
CATALOGUE: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}
"""Name -> entry, in the order of the list."""


def find_entry(name: str) -> DatasetEntry | None:
    """The entry of a dataset named as in a configuration (hub id, :CONFIGURATION, #READING); None if it has none.

    Raises:
        DataError: The dataset has no such configuration or reading; the message lists those it has.
    """
    if name in CATALOGUE and "" in CATALOGUE[name].configurations:
        return CATALOGUE[name]
    rows, hash_sign, reading = name.partition("#")
    base, _, configuration = rows.partition(":")
    entry = CATALOGUE.get(f"{base}{hash_sign}{reading}")
    if entry is not None and configuration in entry.configurations:
        return entry
    known = [known for entry in CATALOGUE.values() for known in _names_of(entry) if _hub_id(known) == base]
    if known or base.startswith(EMBEDDED_PREFIX):
        listed = ", ".join(known or CATALOGUE)
        raise DataError(f"there is no dataset {name}{did_you_mean(name, known or CATALOGUE)}; known are: {listed}")
    return None


def _names_of(entry: DatasetEntry) -> tuple[str, ...]:
    """The entry's name, with each of its configurations."""
    rows, hash_sign, reading = entry.name.partition("#")
    return tuple(
        f"{rows}{':' if configuration else ''}{configuration}{hash_sign}{reading}"
        for configuration in entry.configurations
    )


def _hub_id(name: str) -> str:
    return name.partition("#")[0].partition(":")[0]
