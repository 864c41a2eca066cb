"""The files that the page is made of: styles, scripts, forms, and the frame around them."""

from importlib.resources import files


def template(name: str) -> str:
    """Return the text of a file beside this one."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def diff_library() -> str:
    """Return jsdiff as its package has it, with the notice that its licence asks for."""
    notice = template("vendored/diff.LICENSE")
    return f"/* jsdiff\n{notice}*/\n{template('vendored/diff.min.js')}"
