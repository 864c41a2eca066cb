"""`harness lm-eval`."""

import click


@click.command(
    "lm-eval",
    short_help="Runs lm-eval's own command line on this engine.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lm_eval(arguments: tuple[str, ...]) -> None:
    """Runs lm-eval's own command line on this project's scoring engine (`--model harness`, the default)."""
    from harness.streams import steering_streams
    from suites.lm_eval.command_line import run_command_line

    with steering_streams():  # lm-eval draws its own bars
        run_command_line(arguments or ("--help",))
