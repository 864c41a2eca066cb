"""One file for each family of datasets: adapters from its raw rows to pairs and examples, and its `DATASETS`."""
