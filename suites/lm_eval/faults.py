"""What goes wrong in a task file, its rows or its code, told in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb, walk_tb

from reports.errors import UserError
from reports.plain_text import one_line
from suites.inputs import SuiteError

_LONGEST_REASON = 400
_ENGINE = Path(__file__).parents[1] / "engine"
_MODEL = Path(__file__).with_name("model.py")


class TaskLoadError(SuiteError):
    """The file, the rows or the code of a task cannot be used."""


@contextmanager
def told_in_one_line(what: str) -> Iterator[None]:
    """Turns whatever lm-eval, its libraries and a task's own code raise within the block into one line.

    What comes out of the engine is no fault of a task, and passes.

    Args:
        what: What the line begins with, such as "lm-eval task NAME".

    Raises:
        TaskLoadError: Something went wrong.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a task file brings its own code, which may raise anything
        if _is_of_the_engine(error):
            raise
        raise TaskLoadError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Returns an error as one line: the package to install where one is missing, else its kind and first line.

    Errors of Python itself say little without the line of code that raised them.
    """
    missing = _missing_module(error)
    if missing is not None:
        return _how_to_install(missing)
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines) if isinstance(error, ImportError) else lines[0] if lines else ""
    shown = f"{type(error).__name__}: {text[:_LONGEST_REASON]}".removesuffix(": ")
    last = extract_tb(error.__traceback__)[-1:]
    if isinstance(error, _BARE) and last:
        shown += f", in {Path(last[0].filename).name}: {(last[0].line or '').strip()[:_LONGEST_REASON]}"
    return one_line(shown)


_BARE = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, StopIteration, TypeError)


def _missing_module(error: BaseException | None) -> str | None:
    """Name of the module whose absence an error reports, itself or as what it comes from."""
    if isinstance(error, UnboundLocalError):
        return _swallowed_import(error)
    while isinstance(error, ImportError):
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error = error.__cause__ or error.__context__
    return None


def _swallowed_import(error: UnboundLocalError) -> str | None:
    """Name of the module that a function imports, goes on without, and then uses: lm-eval's loggers do."""
    from importlib.util import find_spec

    variable = re.search(r"'(\w+)'", str(error))
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    if variable is None or not frames:
        return None
    name, code = variable[1], frames[-1].f_code
    is_imported = name in code.co_varnames and name in code.co_names
    return name if is_imported and find_spec(name) is None else None


def _how_to_install(module: str) -> str:
    """What is missing, and the extra of lm-eval that brings it, if one does."""
    from importlib.metadata import requires
    from importlib.util import find_spec

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    root, _, within = module.partition(".")
    if within and find_spec(root) is not None:
        return f"it needs the module {one_line(module)}, which the installed {one_line(root)} does not have"
    wanted = canonicalize_name(root)
    for each in map(Requirement, requires("lm_eval") or ()):
        name = canonicalize_name(each.name)
        extra = str(each.marker).partition('extra == "')[2].rstrip('"') if each.marker else ""
        if extra and (name == wanted or name.startswith(f"{wanted}-")):  # antlr4 is of antlr4-python3-runtime
            return f"it needs the package {one_line(module)}, which is not installed: pip install 'lm-eval[{extra}]'"
    return f"it needs the module {one_line(module)}, which is not here: install it, or put it on PYTHONPATH"


def _is_of_the_engine(error: BaseException) -> bool:
    """Whether an error was raised while a model computed."""
    for frame, _ in walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(_ENGINE) or (file == _MODEL and frame.f_code.co_name in _COMPUTING):
            return True
    return False


_COMPUTING = ("_loglikelihood_tokens", "generate_until", "_model_generate")
"""Functions of `model.py` in which the model computes; others load it and make its prompts."""
