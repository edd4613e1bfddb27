"""Files of environment variables: `--env-file`.

A line is `NAME=value`, also behind `export`. A value may stand in quotes: between single quotes
every character counts as itself; between double quotes `\\n`, `\\t`, `\\"`, `\\\\` and `\\$` are
escapes. Outside quotes a `#` behind a space begins a comment. Variables in values are not expanded.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfigurationError

_LINE = re.compile(
    r"""
    \s* (?: export \s+ )?
    (?P<name> [A-Za-z_][A-Za-z0-9_]* ) \s* = \s*
    (?:
        ' (?P<single> [^']* ) ' \s* (?: \# .* )?
    |   " (?P<double> (?: [^"\\] | \\. )* ) " \s* (?: \# .* )?
    |   (?! ['"] ) (?P<bare> .*? ) \s* (?: (?<=[\s=]) \# .* )?
    )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file, the last one of each name.

    Raises: ConfigurationError if it can't be read, or a line has another form.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
    variables = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or "\0" in line:
            # The line is not shown: it may hold a secret.
            raise ConfigurationError(
                f"{path}, line {number}: expected NAME=value, with both quotes if it has one"
            )
        variables[match["name"]] = _value_of(match)
    return variables


def _value_of(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPE.sub(lambda each: _ESCAPED.get(each[1], each[0]), match["double"])
    return match["single"] if match["single"] is not None else match["bare"]
