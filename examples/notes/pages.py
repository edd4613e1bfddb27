"""The templates, for all modules that answer with a page."""

from microweb.templating import Templates

templates = Templates("templates")
