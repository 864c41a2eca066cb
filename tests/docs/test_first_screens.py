"""The script that takes the pictures of first screens."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium
from click.testing import CliRunner
from made_up_runs import default_like_run
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "docs" / "scripts" / "first_screens.py"


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("first_screens", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_browser_it_says_so_before_anything_is_run(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line with what to install; no folder is made."""
    monkeypatch.setattr(shutil, "which", lambda _: None)

    result = CliRunner().invoke(script.first_screens, [str(tmp_path / "pictures")])

    assert result.exit_code == 1
    assert "apt-get install -y --no-install-recommends chromium" in str(result.exception) + result.output
    assert not (tmp_path / "pictures").exists()


@pytest.mark.slow
def test_four_pictures_a_run(script: Any, tmp_path: Path) -> None:
    """Each as large as its window, narrow and wide, on light ground and on dark."""
    binary = next(filter(None, map(shutil.which, script.BROWSERS)), None)
    if binary is None:
        pytest.skip("no browser: install the package chromium")
    browser = Chromium(binary, tmp_path / "profile")
    try:
        pictures = list(script.take_pictures(browser, "default", default_like_run(), tmp_path / "pictures"))
    finally:
        browser.close()

    sizes = {picture.name: Image.open(picture).size for picture in pictures}
    assert sizes == {
        f"default-{width}-{scheme}.png": (width, height)
        for width, height in ((400, 800), (1_400, 900))
        for scheme in ("light", "dark")
    }
    for picture in pictures:
        red, green, blue = Image.open(picture).convert("RGB").getpixel((0, 0))
        is_light = min(red, green, blue) > 200
        is_dark = max(red, green, blue) < 60
        assert (is_light, is_dark) == ("light" in picture.name, "dark" in picture.name)
    assert script.README_SHOWS in sizes
