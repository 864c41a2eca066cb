"""PKU-Alignment's two datasets: processed-hh-rlhf, which is hh-rlhf in columns, and PKU-SafeRLHF."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from harness.data.sources.hh_rlhf import CONFIGURATIONS as HH_CONFIGURATIONS
from suites.inputs import Pair

SAFETY_COLUMNS = ("prompt", "response_0", "response_1", "safer_response_id")


def pair_of_processed_hh(row: Row) -> Pair | LeftOut:
    """Makes a pair of a context of messages and two answers; texts are stripped. Group: the first human turn."""
    return make_pair(row.turns("context"), row.answer("chosen"), row.answer("rejected"), source=row.source)


def pair_of_safe_rlhf(row: Row) -> Pair | LeftOut:
    """Makes a pair with the safer response as chosen; texts are stripped. Group: the prompt.

    Releases that judge one dimension only have no `safer_response_id`; there `better_response_id` decides.
    """
    is_only_better = row.has("better_response_id") and not row.has("safer_response_id")
    return _judged(row, "better_response_id" if is_only_better else "safer_response_id")


def better_pair_of_safe_rlhf(row: Row) -> Pair | LeftOut:
    """Makes a pair with the more helpful response (`better_response_id`) as chosen; else like the safer reading."""
    return _judged(row, "better_response_id")


def _judged(row: Row, judgement: str) -> Pair | LeftOut:
    preferred = row.one_of(judgement, 0, 1)
    chosen, rejected = row.text(f"response_{preferred}"), row.text(f"response_{1 - preferred}")
    return make_pair(row.turns("prompt"), chosen.strip(), rejected.strip(), source=row.source)


_CONFIGURATIONS = ("", "default", "alpaca-7b", "alpaca2-7b", "alpaca3-8b")

DATASETS = (
    DatasetEntry(
        name="PKU-Alignment/processed-hh-rlhf",
        columns=("context", "chosen", "rejected"),
        licence="MIT",
        group="first human turn",
        pair=pair_of_processed_hh,
        configurations=HH_CONFIGURATIONS,
        folder_configurations=True,
    ),
    DatasetEntry(
        name="PKU-Alignment/PKU-SafeRLHF",
        columns=SAFETY_COLUMNS,
        licence="CC-BY-NC-4.0",
        group="prompt",
        pair=pair_of_safe_rlhf,
        configurations=_CONFIGURATIONS,
    ),
    DatasetEntry(
        name="PKU-Alignment/PKU-SafeRLHF#better",
        columns=("prompt", "response_0", "response_1", "better_response_id"),
        licence="CC-BY-NC-4.0",
        group="prompt",
        pair=better_pair_of_safe_rlhf,
        configurations=_CONFIGURATIONS,
    ),
)
