"""Pictures of a run: static SVG in real colours, the same on the page, beside Markdown, in print and as PDF."""
