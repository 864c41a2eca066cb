"""Units on a Ray cluster, or on all cores and GPUs of this machine; nothing else in the project speaks to Ray."""
