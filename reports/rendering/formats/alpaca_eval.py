"""Answers in the columns that AlpacaEval reads, so that a judge can be run elsewhere."""

from reports.records import Run


def alpaca_eval(run: Run) -> dict[str, list[dict[str, str]]]:
    """Map each subject to its answers, in the order of the run.

    Returns:
        Rows of instruction, output, generator (the subject) and dataset (the source of the evaluation's rows, or its
        name); and of example_id, which AlpacaEval ignores and a file of judgements needs.
    """
    datasets = {counts.evaluation: counts.dataset for counts in run.counts}
    rows: dict[str, list[dict[str, str]]] = {}
    for answer in run.generations:
        row = {
            "instruction": answer.prompt,
            "output": answer.answer,
            "generator": answer.subject,
            "dataset": datasets.get(answer.evaluation, answer.evaluation),
            "example_id": answer.example_id,
        }
        rows.setdefault(answer.subject, []).append(row)
    return rows
