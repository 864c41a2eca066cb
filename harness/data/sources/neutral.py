"""Text that neither praises nor advises: a passage whose first sentence is given."""

from harness.data.make import make_example
from harness.data.row import LeftOut, Row
from suites.inputs import Example


def example(row: Row) -> Example | LeftOut:
    """Columns prompt (the first sentence) and response (the rest); texts are stripped. Group: the passage."""
    return make_example(row.text("prompt"), row.text("response"))
