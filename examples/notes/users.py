"""Names and passwords. It hashes and asks the database, so it belongs into a thread."""

import hashlib
import hmac
import secrets
import sqlite3

from database import database

COST = 2**14  # of a hash: 16 MiB, and a tenth of a second or more


class NameTaken(Exception):
    """Somebody else has that name."""


def add_user(name: str, password: str) -> int:
    """Keep a user; of the password only a hash. Raises: NameTaken."""
    salt = secrets.token_bytes(16)
    values = [name, salt, hash_password(password, salt)]
    with database() as db:
        try:
            added = db.execute("INSERT INTO users (name, salt, password) VALUES (?, ?, ?)", values)
        except sqlite3.IntegrityError as error:
            raise NameTaken(name) from error
    assert added.lastrowid is not None
    return added.lastrowid


def find_user(name: str, password: str) -> sqlite3.Row | None:
    """Return the user's row; None for a wrong name or password, which take the same time."""
    with database() as db:
        row: sqlite3.Row | None
        row = db.execute("SELECT * FROM users WHERE name = ?", [name]).fetchone()
    salt, kept = (row["salt"], row["password"]) if row else (bytes(16), bytes(64))
    return row if hmac.compare_digest(hash_password(password, salt), kept) else None


def hash_password(password: str, salt: bytes) -> bytes:
    """Return what can be compared, but tried out only slowly, should the database be stolen."""
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=8, p=5)
