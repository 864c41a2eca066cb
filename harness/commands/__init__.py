"""One file a command, with its options."""
