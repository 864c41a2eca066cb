"""Whatever stands in a file of rows: it becomes rows, or one line; never a traceback."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fuzzing import FUZZED
from hypothesis import given, seed
from hypothesis import strategies as st

from harness.config.schema import DatasetConfig
from harness.data.files import SUFFIXES
from harness.data.load import load_examples, load_pairs, load_questions, load_rated
from reports.errors import UserError

_SECONDS = 10
_NAMES = st.sampled_from(
    ["prompt", "chosen", "rejected", "messages", "completion", "label", "system", "tools", "images", "input", "group",
     "source", "score_chosen", "score_rejected", "question", "conversations", "x\n\x1b[31my", "", "a,b"]
)  # fmt: skip
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=20),
    st.sampled_from(["\ud83d", "\n\nHuman: a\n\nAssistant: b", '[{"role": "user", "content": "a"}]', "</s>", "true"]),
)  # fmt: skip
_MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.one_of(st.sampled_from(["user", "Assistant", "tool", "system", "developer", "bot"]), _SCALARS),
        "from": st.sampled_from(["human", "gpt", None]),
        "content": st.one_of(st.text(max_size=9), _SCALARS, st.lists(st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image", 3])}, optional={"text": _SCALARS}), max_size=2)),
        "value": _SCALARS,
        "tool_calls": st.one_of(
            _SCALARS, st.lists(st.dictionaries(st.just("function"), _SCALARS, max_size=1), max_size=2)
        ),
    },
)  # fmt: skip
_VALUES = st.recursive(
    st.one_of(_SCALARS, st.lists(_MESSAGE, max_size=4), _MESSAGE),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
_ROWS = st.lists(st.dictionaries(_NAMES, _VALUES, max_size=6), max_size=4)
_BROKEN = st.one_of(st.binary(max_size=60), st.sampled_from([b"{" * 5000, b"[" * 5000, b'{"a": ' + b"9" * 5000 + b"}"]))


def assert_one_line(error: UserError) -> None:
    """The message is what a terminal shows as one line."""
    assert len(str(error).splitlines()) == 1


@pytest.mark.slow
@seed(15)
@FUZZED
@given(rows=_ROWS, broken=st.none() | _BROKEN, suffix=st.sampled_from(SUFFIXES), loader=st.sampled_from(
    [load_pairs, load_rated, load_examples, load_questions]))  # fmt: skip
def test_any_file_gives_rows_or_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    broken: bytes | None,
    suffix: str,
    loader: Any,
) -> None:
    """Rows of any values under usual names, and bytes that are no rows, in files of every ending."""
    path = Path(tmp_path_factory.mktemp("rows")) / f"rows{suffix}"
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(content if broken is None else content + broken)
    started = time.monotonic()
    try:
        assert loader(DatasetConfig(str(path)), data_root=None).rows
    except UserError as error:
        assert_one_line(error)
    assert time.monotonic() - started < _SECONDS
