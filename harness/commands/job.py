"""The main job: train the adapters that are missing, measure them beside the baseline, write the results."""

from collections.abc import Sequence

from harness.commands.output import write_missing_cards, write_results
from harness.commands.report_files import RunReports
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate, train, trained_candidates
from harness.measuring.opening import open_job
from harness.measuring.run import measure
from reports.records import Run
from reports.whole import in_use


def train_and_measure(experiment: Experiment, others: Sequence[Candidate] = ()) -> tuple[Run, RunReports]:
    """Trains or reuses the adapters of an experiment, measures them and other candidates, and writes the run.

    Raises:
        UserError: a recipe that cannot be trained, a candidate that does not fit, or a folder that cannot be written.
    """
    with experiment.reserve_run() as folder:
        suite = open_job(experiment, others, trains=True)
        trained = train(experiment)
        write_missing_cards(trained)
        with in_use(each.fixture.folder for each in trained):
            run = measure(experiment, trained_candidates(experiment, trained, others), suite, trained, name=folder.name)
            return run, write_results(run, folder, trained, experiment.terminal)
