"""The values that the sites of `python -m benchmarks` have in common."""

import os
from pathlib import Path

KEY = "a key for these benchmarks only, which is long enough"
ORIGIN = "https://shop.example"
ITEMS = [
    {"id": number, "name": f"Item number {number}", "price": number + 0.5, "tags": ["new", "sale"]}
    for number in range(5)
]
EVENTS = 100
PIECES, PIECE = 100, b"x" * 1024
FOLDER = Path(os.environ.get("SITE_FOLDER", "."))  # has the files of `small`
PAGE = """<!DOCTYPE html>
<title>{{ title }}</title>
<h1>{{ title }}</h1>
<ul>
{% for item in items %}<li><a href="/items/{{ item.id }}">{{ item.name }}</a>: {{ item.price }}</li>
{% endfor %}</ul>
"""
