"""What an experiment and a suite are, and how they are read from YAML."""
