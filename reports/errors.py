"""The base class of every mistake that a user can make, at the bottom so that all packages can raise it."""


class UserError(Exception):
    """A mistake in the configuration, the command line, the data or the environment.

    Each subclass is defined beside the code that raises it. Its message is one line: what was wrong, what is allowed,
    what was given, what to do. The command line prints that line and exits with code 2.
    """
