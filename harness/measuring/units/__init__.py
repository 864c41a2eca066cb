"""Units: what a job has to train and to measure, in parts that any process can do."""
