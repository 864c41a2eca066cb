"""One file a dataset family: its rows in, pairs and examples out."""
