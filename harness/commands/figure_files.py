"""The pictures of a report, as files beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from reports.rendering.formats.figure_files import picture_csv, picture_pdf
from reports.rendering.pictures.picture import Picture
from reports.whole import write_whole

FigureFormat = Literal["svg", "pdf"]
FOLDER = "figures"
"""Folder beside the report."""


def write_figures(
    pictures: Sequence[Picture], folder: Path, *, formats: Sequence[FigureFormat], with_data: bool
) -> list[Path]:
    """Write each picture into the folder `figures`, and its data as CSV; return the files of pictures.

    Args:
        pictures: The pictures of a report.
        folder: Where the report is.
        formats: What each picture is written as.
        with_data: Whether `figures/NAME.csv` is written too.

    Raises:
        NoPdfError: A PDF was asked for, and what makes it is missing.
        OSError: A file cannot be written.
    """
    contents = {
        f"{picture.name}.{kind}": picture_pdf(picture) if kind == "pdf" else picture.svg
        for picture in pictures
        for kind in formats
    }
    if not contents:
        return []
    (folder / FOLDER).mkdir(exist_ok=True)
    if with_data:
        for picture in pictures:
            write_whole(folder / FOLDER / f"{picture.name}.csv", picture_csv(picture))
    return [write_whole(folder / FOLDER / name, content) for name, content in contents.items()]
