"""Open a full model without loading its weights, so that what is wrong with it shows before anything is trained."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.config.schema import ModelConfig
from harness.models.base import load_weights, open_folder
from harness.models.base_files.folder import ModelError
from harness.models.base_files.tokenizer import load_tokenizer
from reports.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_KEY = re.compile(r"^model\.name(?: '[^']*')?")
"""The key of the configuration, with the value, as messages about a base model begin."""


@contextmanager
def named_by(option: str) -> Iterator[None]:
    """Names the option that the user typed in errors within the block, in place of the key model.name.

    Args:
        option: with its value, such as "--candidate tuned=./folder".

    Raises:
        ModelError: the block raised an error of a model.
    """
    try:
        yield
    except UserError as error:
        if not _KEY.match(str(error)):
            raise
        raise ModelError(_KEY.sub(lambda _: option, str(error), count=1)) from error


def open_model(config: ModelConfig, option: str) -> "PreTrainedTokenizerFast":
    """Return the tokenizer of a full model, after a look at all that loading it will read.

    Configuration, tokenizer and the headers of all weights are read, and the model is built without memory for its
    weights: what is missing, cut off or of another shape is told now. A model of the hub is fetched.

    Raises:
        ModelError: it cannot be loaded; the message begins with the option.
    """
    with named_by(option):
        opened = open_folder(config)
        tokenizer = load_tokenizer(opened.place.folder, opened.place.name)
        load_weights(opened, "meta", "float32", "float32")
    return tokenizer
