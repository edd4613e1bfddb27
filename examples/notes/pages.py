"""The templates, shared by all modules that answer with a page."""

from microweb.templating import Templates

templates = Templates("templates")
