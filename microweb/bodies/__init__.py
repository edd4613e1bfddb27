"""Bodies: JSON and forms that are read, and the content of responses."""
