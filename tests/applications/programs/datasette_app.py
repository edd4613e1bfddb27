"""Datasette with one database."""

import os
import sqlite3
from pathlib import Path

from datasette.app import Datasette

path = Path(os.environ["DATA_FOLDER"]) / "shop.db"
with sqlite3.connect(path) as database:
    database.executescript(
        "CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, name TEXT);"
        "INSERT OR REPLACE INTO items VALUES (1, 'tea'), (2, 'été');"
    )
app = Datasette([str(path)]).app()
