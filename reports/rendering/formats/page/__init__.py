"""The page: one HTML file that holds everything about a run, and asks for nothing."""

from reports.rendering.formats.page.frame import html_report

__all__ = ["html_report"]
