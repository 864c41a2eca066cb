"""Takes the picture of the report page that the README shows: docs/report.png.

    python docs/scripts/report_picture.py          # runs the embedded default first: minutes
    python docs/scripts/report_picture.py RUN      # the page of a run that exists

It needs Chromium: `apt-get install -y --no-install-recommends chromium`.
"""
# ruff: noqa: INP001, T201

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from PIL import Image

PICTURE = Path(__file__).parents[1] / "report.png"
WIDTH, HEIGHT = 1180, 1420
"""Pixels of the window: the verdict and the figure below it."""
COLOURS = 128
"""Enough for text and lines; what more would only add to the size of the file."""
LARGEST_BYTES = 200_000
BROWSERS = ("chromium", "google-chrome")


@click.command(help=__doc__)
@click.argument("run", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
def picture(run: Path | None) -> None:
    """Writes the picture of a run's page, or of the embedded default's."""
    with tempfile.TemporaryDirectory() as folder:
        page = report_page(run or embedded_default(Path(folder)), Path(folder))
        taken = Path(folder) / "page.png"
        take_picture(page, taken)
        Image.open(taken).convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE).save(PICTURE, optimize=True)
    size = PICTURE.stat().st_size
    print(f"{PICTURE}: {size / 1000:.0f} KB")
    if size > LARGEST_BYTES:
        sys.exit(f"more than {LARGEST_BYTES / 1000:.0f} KB")


def embedded_default(folder: Path) -> Path:
    """Returns the run folder of the README's first command, named as a reader's would be."""
    run = folder / "tiny-alignment"
    harness("train-and-eval", "--suite", "alignment", "--workspace", str(folder / "workspace"), "--out", str(run))
    return run


def report_page(run: Path, folder: Path) -> Path:
    """Returns the HTML page of a run; the run itself is left as it is."""
    harness("report", str(run), "--format", "html", "--out", str(folder))
    return folder / "report.html"


def harness(*arguments: str) -> None:
    """Runs a command of this project with this Python."""
    subprocess.run([sys.executable, "-m", "harness", *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def take_picture(page: Path, to: Path) -> None:
    """Writes a PNG of the top of a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("no browser: apt-get install -y --no-install-recommends chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={to}",
        )
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    picture()
