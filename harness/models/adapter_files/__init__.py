"""What lies in the folder of an adapter: where it is, its configuration typed and checked, its tensors by shape."""
