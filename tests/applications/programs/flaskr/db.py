"""One connection for each request."""

import sqlite3

import click
from flask import current_app, g


def get_db() -> sqlite3.Connection:
    if "db" not in g:
        g.db = sqlite3.connect(current_app.config["DATABASE"])
        g.db.row_factory = sqlite3.Row
    return g.db


def close_db(error: BaseException | None = None) -> None:
    if (db := g.pop("db", None)) is not None:
        db.close()


@click.command("init-db")
def init_db() -> None:
    with current_app.open_resource("schema.sql") as schema:
        get_db().executescript(schema.read().decode())


def init_app(app) -> None:
    app.teardown_appcontext(close_db)
    app.cli.add_command(init_db)
