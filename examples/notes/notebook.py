"""Notes and their files, as they are kept. It blocks, so it belongs into a thread.

A note is asked for with the id of a user: who it does not belong to finds none.
"""

import sqlite3
from uuid import UUID

from database import UPLOADS, database


def notes_of(user: int) -> list[sqlite3.Row]:
    """Return the latest hundred notes of a user, the latest first."""
    with database() as db:
        query = "SELECT * FROM notes WHERE user = ? ORDER BY rowid DESC LIMIT 100"
        return db.execute(query, [user]).fetchall()


def find_note(user: int, id: UUID) -> sqlite3.Row | None:
    """Return a user's note, None where there is no such."""
    with database() as db:
        query = "SELECT * FROM notes WHERE user = ? AND id = ?"
        row: sqlite3.Row | None = db.execute(query, [user, str(id)]).fetchone()
    return row


def add_note(user: int, id: UUID, title: str, text: str, filename: str | None) -> None:
    """Keep a note. Its file, if it has one, is at `UPLOADS / str(id)` already."""
    with database() as db:
        query = "INSERT INTO notes (user, id, title, text, filename) VALUES (?, ?, ?, ?, ?)"
        db.execute(query, [user, str(id), title, text, filename])


def delete_note(user: int, id: UUID) -> bool:
    """Forget a user's note and its file; return whether there was one."""
    with database() as db:
        deleted = db.execute("DELETE FROM notes WHERE user = ? AND id = ?", [user, str(id)])
    if deleted.rowcount:
        (UPLOADS / str(id)).unlink(missing_ok=True)
    return bool(deleted.rowcount)
