"""The one class of errors that are the user's to mend; `cli.py` turns it into one line and exit code 2."""


class UserError(Exception):
    """A mistake in the configuration, the command line, the data or the environment.

    Subclasses stand beside the code that raises them. A message is one line: what was wrong, what is allowed, what was
    given, what to do.
    """
