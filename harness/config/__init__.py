"""The configuration of experiments and suites, and how it is read from YAML."""
