"""What lies in the folder of a base model: where it is, which files it holds, its configuration checked."""
