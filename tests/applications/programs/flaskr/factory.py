"""The blog of Flask's tutorial: `flask --app flaskr.factory init-db` makes its database."""

import os
from pathlib import Path

from flask import Flask

from . import auth, blog, db


def create_app() -> Flask:
    app = Flask(__name__)
    database = Path(os.environ["DATA_FOLDER"]) / "flaskr.sqlite"
    app.config.from_mapping(SECRET_KEY="dev", DATABASE=str(database))

    @app.route("/hello")
    def hello() -> str:
        return "Hello, World!"

    db.init_app(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(blog.bp)
    app.add_url_rule("/", endpoint="index")
    return app
