"""OpenAPI 3.1: the document of an app."""

from .documents import document

__all__ = ["document"]
