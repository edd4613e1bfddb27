"""Paths: patterns, the route tree, and URLs by name."""
