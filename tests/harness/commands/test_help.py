"""What `--help` says of commands, and what it imports."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from harness.cli import cli


@pytest.mark.parametrize("arguments", [[], ["data"]], ids=["harness", "harness data"])
def test_every_command_is_listed_in_one_whole_line(arguments: list[str]) -> None:
    """On a terminal of 80 columns no description is cut off or continued."""
    group = cli.commands[arguments[0]] if arguments else cli
    assert isinstance(group, click.Group)

    shown = CliRunner().invoke(cli, [*arguments, "--help"], terminal_width=80)

    listed = shown.output.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == sorted(group.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed), shown.output


def test_help_imports_nothing_heavy() -> None:
    """The help of every command is printed without torch, pandas or pydantic."""
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom harness.cli import cli\n"
        "for name in ['', *cli.commands.keys() - {'lm-eval'}]:\n"  # whose help is lm-eval's own
        "    assert CliRunner().invoke(cli, [*name.split(), '--help']).exit_code == 0\n"
        "print([name for name in ('torch', 'transformers', 'pandas', 'pydantic', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
