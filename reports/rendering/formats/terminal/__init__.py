"""A run on the terminal: headline and table last, so that they are what a reader sees when a command ends.

Lines are wrapped to the reader's width, down to 60 columns. Names are data: their control characters are not printed.
"""

from reports.rendering.formats.terminal.report import terminal_report
from reports.rendering.formats.terminal.screen import Colours, Screen, page_line

__all__ = ["Colours", "Screen", "page_line", "terminal_report"]
