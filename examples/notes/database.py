"""The data: a SQLite database, and a folder with the uploaded files.

Every call blocks: use it in plain `def` endpoints, which run in threads, or with `to_thread`.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FOLDER = Path(os.environ.get("NOTES_FOLDER", "notes-data")).absolute()
UPLOADS = FOLDER / "uploads"  # not in the folder of `app.static`: each request checks the user

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    salt BLOB NOT NULL,
    password BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS notes (
    id TEXT NOT NULL UNIQUE,
    user INTEGER NOT NULL REFERENCES users,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    filename TEXT,
    written TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS notes_by_user ON notes (user);
"""


def prepare() -> None:
    """Create the folder, readable only by this account, and the tables, if they are missing."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    UPLOADS.mkdir(exist_ok=True)
    with database() as db:
        db.execute("PRAGMA journal_mode = WAL")  # readers don't wait for a writer
        db.executescript(SCHEMA)


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Yield a connection for this thread. If the block raises, all its changes are rolled back.

    Values go into SQL as parameters, never as text: `db.execute("... WHERE id = ?", [id])`.
    """
    with closing(sqlite3.connect(FOLDER / "notes.sqlite3")) as db, db:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        yield db
