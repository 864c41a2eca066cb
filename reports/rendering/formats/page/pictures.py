"""Pictures of the page, each with buttons that save it and its data."""

from collections.abc import Sequence
from html import escape

from reports.rendering.formats.figure_files import picture_csv
from reports.rendering.pictures.picture import Picture


def figure(picture: Picture, *, folds_note: bool = False) -> str:
    """Return a picture with its title, its note, which may be folded, and the buttons that save it."""
    name, title = escape(picture.name), escape(picture.title)
    formats = ("SVG", "CSV") if picture.rows else ("SVG",)
    buttons = "".join(
        f'<button type="button" data-save="{kind.lower()}" data-picture="{name}" aria-label="Save {title} as {kind}">'
        f"{kind}</button>"
        for kind in formats
    )
    note = f'<p class="note" dir="auto">{escape(picture.note)}</p>' if picture.note else ""
    if note and folds_note:
        note = f'<details class="note"><summary>How to read it</summary>{note}</details>'
    return (
        f'<figure id="picture-{name}"><figcaption><span dir="auto">{title}</span>'
        f'<span class="save scripted">{buttons}</span></figcaption>{picture.svg}{note}</figure>'
    )


def pictures_part(pictures: Sequence[Picture]) -> str:
    """Return the pictures in a grid, or nothing without any."""
    figures = "".join(map(figure, pictures))
    return f'<div class="pictures">{figures}</div>' if figures else ""


def picture_data(pictures: Sequence[Picture]) -> dict[str, str]:
    """Map each picture that has data to these as CSV."""
    return {picture.name: picture_csv(picture) for picture in pictures if picture.rows}
