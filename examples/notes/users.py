"""Users and their passwords. Hashes and queries block: call the functions in a thread."""

import hashlib
import hmac
import secrets
import sqlite3

from database import database

COST = 2**14  # a hash takes 16 MiB and at least a tenth of a second


class NameTaken(Exception):
    """Another user has this name."""


def add_user(name: str, password: str) -> int:
    """Store a user with a hash of the password, and return its id. Raises: NameTaken."""
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
    """Return the user's row, or None. A wrong name and a wrong password take the same time."""
    with database() as db:
        row: sqlite3.Row | None
        row = db.execute("SELECT * FROM users WHERE name = ?", [name]).fetchone()
    salt, kept = (row["salt"], row["password"]) if row else (bytes(16), bytes(64))
    return row if hmac.compare_digest(hash_password(password, salt), kept) else None


def hash_password(password: str, salt: bytes) -> bytes:
    """Return a slow hash: a thief of the database can try only a few passwords a second."""
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=8, p=5)
