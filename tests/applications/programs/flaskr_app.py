"""The blog, made when this module is imported."""

from flaskr.factory import create_app

app = create_app()
