"""Whatever stands in the file of an experiment or a suite: a configuration, or a line for each mistake."""

import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import FUZZED, answering, mutated
from hypothesis import given, seed
from hypothesis import strategies as st

from harness.config.load import check_roles, load_experiment, load_suite, to_dict, to_yaml
from harness.config.strict_yaml import dump_yaml
from harness.measuring.kinds import row_kinds
from harness.training.variants import n_steps, variants_of

_EXPERIMENT = to_dict(load_experiment("sft-then-dpo")) | {"sweep": {"training.beta": [0.1, 0.2]}, "controls": ["sft"]}
_SUITE = to_dict(load_suite("alignment", row_kinds()))
_BROKEN = st.one_of(
    st.binary(max_size=80),
    st.text(st.sampled_from("{}[]:,-?!&*#|>'\"%@ \n\tan1."), max_size=60).map(str.encode),
    st.sampled_from(
        [b"a: " + b"[" * 100_000, b"{a: " * 3000, b"- " * 9000, b"a: &b [*b]", b"x" * 600_000, b"a: " + b"9" * 5000,
         b"a: !!python/object/apply:os.system [x]", b"a: 1\na: 2", b"\xff\xfe", b"a: 0x10", b"? a\n: b", b"<<: {a: 1}",
         b"a: .inf", b"--- a\n--- b", b'a: "\\ud83d"', b"a: 2020-01-01", b"'" * 999]
    ),
)  # fmt: skip


def written(folder: Path, values: Any, as_json: bool) -> Path:
    """A file of values as YAML, or as JSON, which is YAML too."""
    path = folder / "mine.yaml"
    text = json.dumps(values) if as_json else dump_yaml(values)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


@pytest.mark.slow
@seed(15)
@FUZZED
@given(values=mutated(_EXPERIMENT), broken=st.none() | _BROKEN, as_json=st.booleans())
def test_any_experiment_is_one_or_is_told(
    tmp_path_factory: pytest.TempPathFactory, values: Any, broken: bytes | None, as_json: bool
) -> None:
    """What is taken can be trained as listed, counted in steps, and written so that it reads back equal."""
    path = written(tmp_path_factory.mktemp("config"), values, as_json)
    if broken is not None:
        path.write_bytes(broken)
    with answering():
        config = load_experiment(config_file=path)
        assert all(n_steps(50_000, variant.recipe.training) >= 1 for variant in variants_of(config))
        check_roles(config, load_suite("alignment", row_kinds()), row_kinds())
        path.write_text(to_yaml(config), encoding="utf-8")
        assert load_experiment(config_file=path) == config


@pytest.mark.slow
@seed(15)
@FUZZED
@given(values=mutated(_SUITE), broken=st.none() | _BROKEN, as_json=st.booleans())
def test_any_suite_is_one_or_is_told(
    tmp_path_factory: pytest.TempPathFactory, values: Any, broken: bytes | None, as_json: bool
) -> None:
    """What is taken is checked against an experiment, and written so that it reads back equal."""
    path = written(tmp_path_factory.mktemp("suite"), values, as_json)
    if broken is not None:
        path.write_bytes(broken)
    with answering():
        suite = load_suite(str(path), row_kinds())
        path.write_text(to_yaml(suite), encoding="utf-8")
        assert load_suite(str(path), row_kinds()) == suite
        check_roles(load_experiment("tiny"), suite, row_kinds())
