"""Pictures as files for write-ups: the SVG as PDF, and the data of each as CSV."""

import csv
import io

from reports.errors import UserError
from reports.rendering.pictures.picture import Picture


class NoPdfError(UserError):
    """What makes PDF of SVG is missing on this machine."""


def picture_csv(picture: Picture) -> str:
    """Return the data of a picture in full precision, with a line of column names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((picture.header, *picture.rows))
    return text.getvalue()


def picture_pdf(picture: Picture) -> bytes:
    """Return the picture as a PDF of one page, of the size of its viewBox in points, with text as text.

    Raises:
        NoPdfError: cairosvg, or the library cairo that it draws with, is not installed.
    """
    try:
        import cairosvg
    except ImportError as error:
        raise NoPdfError(
            "--figures pdf: the package cairosvg is not installed; pip install 'dpo-harness[figures]', or take "
            "--figures svg"
        ) from error
    except OSError as error:
        raise NoPdfError(
            "--figures pdf: cairosvg needs the library cairo; install it (Debian: apt install libcairo2, macOS: brew "
            "install cairo), or take --figures svg"
        ) from error
    pdf: bytes = cairosvg.svg2pdf(bytestring=picture.svg.encode("utf-8", "replace"), unsafe=False)
    return pdf
