"""Every line of docs/python.md runs."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _blocks() -> list[str]:
    return re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In one namespace, on a run of the committed adapter and on the embedded base model."""
    specification = importlib.util.spec_from_file_location("way", ROOT / "docs" / "scripts" / "way_of_a_row.py")
    assert specification is not None
    assert specification.loader is not None
    way = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(__import__("sys").modules, "way", way)
    specification.loader.exec_module(way)
    way.measure(tmp_path, "RUN")
    shutil.copytree(way.BASE_MODEL, tmp_path / "MODEL")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    printed = []
    capsys.readouterr()
    for block in _blocks():
        exec(block, namespace)
        printed.append(capsys.readouterr().out)

    names, metrics, margins, differences, log_probabilities = printed
    assert "['baseline', 'adapter'" in names
    assert "reward_accuracy" in metrics
    assert "adapter" in margins
    assert re.match(r"reward_accuracy adapter 0\.\d+ .* better", differences)
    assert all(float(number) < 0 for number in re.findall(r"-?\d+\.\d+", log_probabilities))
    assert len(re.findall(r"-\d+\.\d+", log_probabilities)) == 2
