"""PKU-Alignment's two datasets: hh-rlhf in columns, and PKU-SafeRLHF."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from suites.inputs import Pair


def pair_of_processed_hh(row: Row) -> Pair | LeftOut:
    """processed-hh-rlhf: a context of messages and two answers; texts are stripped. Group: the first human turn."""
    return make_pair(row.turns("context"), row.answer("chosen"), row.answer("rejected"), source=row.source)


def pair_of_safe_rlhf(row: Row) -> Pair | LeftOut:
    """PKU-SafeRLHF: the safer response as chosen, the other as rejected; texts are stripped. Group: the prompt.

    Releases that judge one dimension only have no `safer_response_id`; there `better_response_id` decides.
    """
    is_only_better = row.has("better_response_id") and not row.has("safer_response_id")
    return _judged(row, "better_response_id" if is_only_better else "safer_response_id")


def better_pair_of_safe_rlhf(row: Row) -> Pair | LeftOut:
    """PKU-SafeRLHF by `better_response_id`, the more helpful response as chosen; else as by the safer one."""
    return _judged(row, "better_response_id")


def _judged(row: Row, judgement: str) -> Pair | LeftOut:
    preferred = row.one_of(judgement, 0, 1)
    chosen, rejected = row.text(f"response_{preferred}"), row.text(f"response_{1 - preferred}")
    return make_pair(row.turns("prompt"), chosen.strip(), rejected.strip(), source=row.source)
