r"""A run's primary differences, or its cross-entropies, as tables of LaTeX.

The file compiles by itself, and can be \input into a paper whose preamble loads booktabs and siunitx.
"""

from reports.rendering.formats.latex.report import latex_report
from reports.rendering.formats.latex.text import latex_text

__all__ = ["latex_report", "latex_text"]
