"""Prompts to be answered side by side."""

from harness.data.make import make_question
from harness.data.row import LeftOut, Row
from suites.inputs import Question


def question(row: Row) -> Question | LeftOut:
    """Columns prompt (text or messages, stripped) and kind; group: the first user turn."""
    return make_question(row.turns("prompt"), kind=row.text("kind").strip())
