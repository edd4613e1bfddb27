"""Functions of the application: their parameters, their dependencies and their results."""
