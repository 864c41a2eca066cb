"""Takes pictures of what a reader sees first of a report's page: narrow and wide, light and dark, of four runs.

    python docs/scripts/first_screens.py FOLDER             # runs the embedded default first: minutes
    python docs/scripts/first_screens.py FOLDER --run RUN   # takes the default from a run folder that exists

The other three runs are made up: a sweep over seeds with controls, twenty candidates with 5,000 examples, and one in
which everything got worse. With `--readme` it also renews the picture that the README shows.

It needs Chromium: `apt-get install -y --no-install-recommends chromium`.
"""
# ruff: noqa: INP001, T201

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from chromium import Chromium  # noqa: E402
from made_up_runs import many_run, sweep_run, worse_run  # noqa: E402
from reported import page_of  # noqa: E402

from reports.records import Run  # noqa: E402
from reports.run_folder import read_run  # noqa: E402

WINDOWS = {400: 800, 1_400: 900}
"""Width -> height of the window, in pixels."""
SCHEMES = ("light", "dark")
README_PICTURE = ROOT / "docs" / "pictures" / "first-screen.png"
README_SHOWS = "default-1400-light.png"
COLOURS = 128
"""Enough for text and lines; what more would only add to the size of the file."""
LARGEST_BYTES = 200_000
BROWSERS = ("chromium", "google-chrome")
MADE_UP: dict[str, Callable[[], Run]] = {"sweep": sweep_run, "many": many_run, "worse": worse_run}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--run", "run_folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--readme", is_flag=True, help="Also renews the picture that the README shows.")
def first_screens(folder: Path, run_folder: Path | None, readme: bool) -> None:
    """Writes NAME-WIDTH-SCHEME.png for each run, width and scheme."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        sys.exit("no browser, so no pictures: apt-get install -y --no-install-recommends chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        default = run_folder or embedded_default(Path(scratch))
        browser = Chromium(binary, Path(scratch) / "profile")
        try:
            runs = {"default": lambda: read_run(default)} | MADE_UP
            for name, run_of in runs.items():
                for picture in take_pictures(browser, name, run_of(), folder):
                    print(f"{picture}: {picture.stat().st_size / 1000:.0f} KB")
        finally:
            browser.close()
    if readme:
        README_PICTURE.parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / README_SHOWS, README_PICTURE)
        if README_PICTURE.stat().st_size > LARGEST_BYTES:
            sys.exit(f"{README_PICTURE} has more than {LARGEST_BYTES / 1000:.0f} KB")


def take_pictures(browser: Chromium, name: str, run: Run, folder: Path) -> Iterator[Path]:
    """Yields a picture of a run's first screen in each window and scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        page, taken = Path(scratch) / "report.html", Path(scratch) / "taken.png"
        page.write_text(page_of(run), encoding="utf-8")
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        for width, height in WINDOWS.items():
            for scheme in SCHEMES:
                browser.open(page, width, scheme, height)
                browser.picture(taken)
                picture = folder / f"{name}-{width}-{scheme}.png"
                Image.open(taken).convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE).save(
                    picture, optimize=True
                )
                yield picture


def embedded_default(folder: Path) -> Path:
    """Returns the run folder of the README's first command, named as a reader's would be."""
    run = folder / "tiny-alignment"
    arguments = ("--suite", "alignment", "--workspace", str(folder / "workspace"), "--out", str(run))
    command = [sys.executable, "-m", "harness", "train-and-eval", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return run


if __name__ == "__main__":
    first_screens()
