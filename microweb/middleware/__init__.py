"""Middleware, one module each."""
