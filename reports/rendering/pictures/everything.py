"""All pictures of a run, in the order in which a report shows them."""

from reports.rendering.content.differences import Matrix
from reports.rendering.content.report import Report
from reports.rendering.pictures.calibration import calibration_picture
from reports.rendering.pictures.differences import differences_picture
from reports.rendering.pictures.gain_and_cost import gain_and_cost_picture
from reports.rendering.pictures.margins import margins_picture
from reports.rendering.pictures.picture import Picture
from reports.rendering.pictures.swept_value import swept_value_picture
from reports.rendering.pictures.training import training_picture


def all_pictures(report: Report) -> tuple[Picture, ...]:
    """Return the pictures that a report has numbers for, at most one of each name.

    They are "differences", "gain-and-cost", "swept-value", "margins", "training" and "calibration".
    """
    run, table = report.run, report.table
    pictures = (
        differences_picture(table) if table else None,
        gain_and_cost_picture(table) if isinstance(table, Matrix) else None,
        swept_value_picture(run, report.comparisons, report.recipes),
        margins_picture(run),
        training_picture(run),
        calibration_picture(run),
    )
    return tuple(picture for picture in pictures if picture)
