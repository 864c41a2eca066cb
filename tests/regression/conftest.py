"""What the tests of regressions share: the module of this folder, and a planted fault."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def reference() -> Any:
    """The module `reference.py` of the folder, which is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("reference")


@pytest.fixture(scope="session")
def swapped_adapter(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed adapter's recipe, trained for half as long on the same pairs with both sides swapped."""
    from harness.measuring.lineup import train
    from harness.measuring.preparation import Options, prepare

    folder = tmp_path_factory.mktemp("swapped")
    rows = (FOLDER.parents[1] / "harness" / "embedded" / "data" / "preferences_train.jsonl").read_text().splitlines()
    swapped = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in map(json.loads, rows)]
    pairs = folder / "swapped.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in swapped))
    overrides = (f"data.training={{name: {pairs}}}", "training.epochs=1")
    (trained,) = train(prepare(Options(suite=str(reference.SUITE), workspace=folder, overrides=overrides)))
    return Path(trained.fixture.folder)
