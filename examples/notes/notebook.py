"""Store and find notes and their files. The functions block: call them in a thread.

Each query names the user, so a user never finds another user's note.
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
    """Return a user's note, or None if the user has no note with this id."""
    with database() as db:
        query = "SELECT * FROM notes WHERE user = ? AND id = ?"
        row: sqlite3.Row | None = db.execute(query, [user, str(id)]).fetchone()
    return row


def add_note(user: int, id: UUID, title: str, text: str, filename: str | None) -> None:
    """Store a note. If it has a file, the file must be at `UPLOADS / str(id)` already."""
    with database() as db:
        query = "INSERT INTO notes (user, id, title, text, filename) VALUES (?, ?, ?, ?, ?)"
        db.execute(query, [user, str(id), title, text, filename])


def delete_note(user: int, id: UUID) -> bool:
    """Delete a user's note and its file; return whether the note existed."""
    with database() as db:
        deleted = db.execute("DELETE FROM notes WHERE user = ? AND id = ?", [user, str(id)])
    if deleted.rowcount:
        (UPLOADS / str(id)).unlink(missing_ok=True)
    return bool(deleted.rowcount)
