"""lm-eval's own command line on this engine."""

import sys
from collections.abc import Sequence

from suites.bounded_templates import bound_chat_templates
from suites.lm_eval.faults import told_in_one_line
from suites.lm_eval.model import ScorerLM
from suites.lm_eval.task_code import OPTION, task_code
from suites.lm_eval.validation import validate_tasks


def run_command_line(arguments: Sequence[str]) -> None:
    """Runs lm-eval's own command line, in which the default model, `--model harness`, is this engine.

    Args:
        arguments: The command line after `lm-eval`; `--allow-task-code` among them is ours.

    Raises:
        TaskCodeError: A task file brings code that is not allowed.
        TaskLoadError: lm-eval, or a library that it calls, finds a mistake: a task, a model or a folder that is not
            there.
    """
    from lm_eval._cli import HarnessCLI
    from lm_eval.api.registry import model_registry
    from lm_eval.utils import setup_logging

    if "harness" not in model_registry:
        model_registry.register("harness", target=f"{ScorerLM.__module__}:{ScorerLM.__name__}")
    bound_chat_templates()
    arguments, is_allowed = [each for each in arguments if each != OPTION], OPTION in arguments
    asks_for_a_run = arguments[0] == "run" or arguments[0] not in ("ls", "validate", "--help", "-h")
    chosen = any(argument.split("=")[0] in ("--model", "-M") for argument in arguments)
    setup_logging()
    sys.argv = ["lm-eval", *arguments, *(["--model", "harness"] if asks_for_a_run and not chosen else [])]
    parser = HarnessCLI()
    with task_code(is_allowed=is_allowed), told_in_one_line("lm-eval"):
        parsed = parser.parse_args()
        if getattr(parsed, "command", None) == "validate":
            names = [name for name in parsed.tasks.split(",") if name]
            sys.stdout.write(f"Validating tasks: {names}\n")
            validate_tasks(names, parsed.include_path)
            sys.stdout.write("All tasks found and valid\n")
            return
        parser.execute(parsed)
