"""A frozen application: its routes, with their chains of middleware and their error handlers."""
