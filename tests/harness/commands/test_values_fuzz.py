"""Whatever is typed behind the options of the main command: an experiment, or a line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from fuzzing import FUZZED, answering
from hypothesis import given, seed
from hypothesis import strategies as st

from harness.cli import cli
from harness.commands import job, output
from harness.config.load import load_experiment, to_dict
from harness.measuring import preparation
from harness.training.variants import variants_of

_SECTIONS = to_dict(load_experiment("sft-then-dpo"))
_KEYS = [f"{section}.{key}" for section, values in _SECTIONS.items() if isinstance(values, dict) for key in values]
_TYPED = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
"""What a terminal can hand over."""
_VALUES = st.one_of(
    st.text(_TYPED, max_size=12),
    st.text(st.sampled_from("[]{}:,# '\"|>&*!-0123456789.eE+nulltrue~/"), max_size=20),
    st.sampled_from(
        ["", "null", "0", "-1", "1", "1e308", "1e400", "-1e-320", ".nan", ".inf", "9" * 30, "9" * 5000, "[" * 3000,
         "{a: " * 100, "[1, 2]", "{a: 1}", "a,a", "0.1,1e-1", ",".join(map(str, range(1500))), "on", "x" * 3000,
         "Be brief. # always", "\udce9", "embedded", "./nope", "tests", "/dev/null", "~", "~nobody/x", "a=b=c", "=",
         "+a", "#x", "sft,shuffled", "+unquantised", "sigmoid,ipo", "dpo,kto", "*x", "&a [*a]",
         "!!python/name:os.system x"]
    ),
)  # fmt: skip
_NAMES = st.one_of(
    st.sampled_from([*_KEYS, *_SECTIONS, "a" * 300, ".", "..", "training..beta", "data.roles.x.name", "data.roles.x"]),
    st.text(_TYPED, max_size=9), st.just(".".join("a" * 5000)),
)  # fmt: skip
_OPTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["-o", "--sweep"]), st.tuples(_NAMES, _VALUES).map("=".join)),
        st.tuples(st.just("--candidate"), st.tuples(_VALUES, _VALUES).map("=".join)),
        st.tuples(st.sampled_from(
            ["--seeds", "--controls", "--subjects", "--candidate", "--suite", "--preset", "--config", "--tasks",
             "--limit", "-o", "--sweep", "--out", "--data-root", "--workspace", "--address",
             "--gpus-per-unit", "--gpus-per-adapter", "--workers"]), _VALUES),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def without_models() -> Any:
    """Ends before rows and models are read, where the command line has been understood.

    torch, which a candidate asks for the devices, is imported here, so that no input is charged for it.
    """
    import torch  # noqa: F401

    def understood(options: preparation.Options) -> Any:
        config = preparation._resolve(options)[1]
        return SimpleNamespace(config=config)

    def listed(experiment: Any, _models: Any = (), _make: Any = None) -> tuple[Any, None]:
        assert variants_of(experiment.config)
        return SimpleNamespace(not_measured=()), None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "prepare", understood)
        patch.setattr(job, "train_and_measure", listed)
        patch.setattr(output, "show", lambda *_a, **_k: None)
        yield


def assert_short(error: click.ClickException) -> None:
    """A line in click's own words, with the value as it is, perhaps after the usage."""
    assert len(error.format_message().splitlines()) <= 2


@pytest.mark.slow
@seed(15)
@FUZZED
@given(options=_OPTIONS)
def test_anything_typed_is_understood_or_told(options: list[tuple[str, str]], tmp_path_factory: Any) -> None:
    """Values of wrong types, sizes and counts, keys that are none, one option several times."""
    folder = Path(tmp_path_factory.getbasetemp())
    with answering(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            cli.main(["train-and-eval", *(part for option in options for part in option)], standalone_mode=False)
        except click.ClickException as error:
            assert_short(error)
