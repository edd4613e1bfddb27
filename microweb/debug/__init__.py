"""The debug page: an exception with its frames, and without secrets."""
