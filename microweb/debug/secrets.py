"""Find secrets in a text: values that follow telling names, credentials, card numbers.

Each form has its own scan: pairs (a query, JSON, YAML, a repr), the parts of a multipart form, XML
elements, credentials with their scheme, the user information of a URL, cards. A scan moves from
left to right and reads each character a limited number of times, so it takes linear time on any
text. A value without an end reaches to the end of the text: a text that was cut does not show half
a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

Span = tuple[int, int]

_ANYWHERE = re.compile(
    "passw(?:or)?d|passphrase|passcode|secret|token|authorization|cookie|credential|api_?key"
    "|private_?key|signature|set-cookie|session_?id|sessid"
)
_WORDS = frozenset(
    "key keys pwd auth jwt otp pin csrf xsrf sid pw session sess cvv cvc ssn".split()
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_IN_PROSE = ("key", "keys", "pin", "auth", "session")  # "unknown key: x" names a thing
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")  # a character of a JSON string

# Characters of a name in a text: it may contain %61 or \u0061, or have the form user[password].
_NAME_CHAR = r"\w.\-%\\\[\]+"
_PAIR = re.compile(
    rf"""
    (?P<start>^(?P<indent>[ \t]*+(?:-[ \t]++)?)["']?)?
    (?<![{_NAME_CHAR}])
    (?:(?:name|key)["']?\s*+[=:]\s*+["'](?P<named>[{_NAME_CHAR}]++)["'],?\s*+["']?(?:value|content)
     | (?P<name>[{_NAME_CHAR}]++))
    (?P<separator>(?P<quote>["']?)(?:(?<=["'])\s*+|[ \t]*+)[=:][ \t]*+ | ["'],[ ]?(?=b?["']))
    """,
    re.VERBOSE | re.MULTILINE,
)
# A part of a multipart form has at most 8 field lines.
_DISPOSITION = re.compile(r"^Content-Disposition:([^\r\n]*+)\r\n", re.IGNORECASE | re.MULTILINE)
_PART_NAME = re.compile(r'[; ]name="?([^"\r\n;]++)')
_MORE_FIELDS = re.compile(r"(?:[^\r\n]++\r\n){0,8}\r\n")
_ELEMENT = re.compile(
    r"""<([\w:.\-]++)((?:\s++[\w:.\-]++\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'))*)\s*+>"""
)
_END_TAG = re.compile(r"</([\w:.\-]++)")
_CREDENTIALS = re.compile(
    r"\b(?:(?:[Bb]earer|BEARER)[ ]++(?P<bearer>[\w.~+/\-]{6,}+=*+)"
    r"|(?:[Bb]asic|BASIC)[ ]++(?P<basic>[A-Za-z0-9+/]{4,}+={0,2}))"
)
_SCHEME = re.compile(r"(?i:Bearer|Basic|Digest|Token|Negotiate|AWS4-HMAC-SHA256)[ ]++(?=\S)")
_USERINFO = re.compile(r"(?<=://)[^\s/@:'\"]{0,64}:[^\s/'\"]{1,256}(?=@)")
_CARD = re.compile(r"(?<![\w.])[2-6](?:(?:[ +\-]|%20)?[0-9]){12,18}(?!\w|\.[0-9])")

# The beginning and the end of a value.
_BLANK_BEFORE_VALUE = re.compile(r"""\s*+(?=b?["']|[\[{(])""")
_SPACE = re.compile(r"[ \t]*+")
_STRING = re.compile(
    r"""b?(?:"[^"\\]*+(?:\\.[^"\\]*+)*(?P<double>"?)|'[^'\\]*+(?:\\.[^'\\]*+)*(?P<single>'?))""",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"""[^"'()\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*"?|'[^'\\]*+(?:\\.[^'\\]*+)*'?|.""", re.DOTALL
)
_FORM_VALUE = re.compile(r"[^\s&]*+")
_MEMBER = re.compile(r"[^,}\]\r\n]*+")
_LINE = re.compile(r"[^\r\n]*+")
_MEMBERS = re.compile(
    r"""b?"[^"\\]*+(?:\\.[^"\\]*+)*"?|b?'[^'\\]*+(?:\\.[^'\\]*+)*'?|[^\s,:()\[\]{}"']++""",
    re.DOTALL,
)
_CLOSING = ",;)]}>\"'"


def is_secret(name: str) -> bool:
    """Return whether a value of this name is probably secret: `api_key`, `userPassword`."""
    if _ANYWHERE.search(name.lower()):
        return True
    return not _WORDS.isdisjoint(word.lower() for word in _WORD.findall(name))


def is_telling(name: str) -> bool:
    """Return whether a name in prose, such as `token: x`, probably precedes a secret."""
    return is_secret(name) and name.lower() not in _IN_PROSE and not name.endswith("Error")


def has_scheme(value: str) -> bool:
    """Return whether a field's value begins with an authentication scheme: `Bearer abc`."""
    return _SCHEME.match(value) is not None


def find_secrets(text: str) -> list[Span]:
    """Return the places of secrets in `text`, in order and without overlaps."""
    merged = list[Span]()
    for start, end in sorted(span for find in _FINDERS for span in find(text)):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


# --- pairs ----------------------------------------------------------------------------


def pairs_in(text: str) -> Iterator[Span]:
    """Yield the places of values that follow a telling name: `token=abc`, `"password": ["a"]`."""
    position = 0
    while (found := _PAIR.search(text, position)) is not None:
        position = found.end()
        if _tells(found):
            start, end = _value_span(text, found)
            if end > start:
                yield start, end
            position = max(position, end)


def _tells(found: re.Match[str]) -> bool:
    name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), found["named"] or found["name"])
    if "%" in name:
        name = unquote_plus(name)
    is_data = found["named"] or found["quote"] or found["separator"] == "="
    return is_secret(name) if is_data else is_telling(name)


def _value_span(text: str, found: re.Match[str]) -> Span:
    position = found.end()
    blank = _BLANK_BEFORE_VALUE.match(text, position)
    if blank is not None:
        end = _end_of_quoted(text, blank.end())
        if found["separator"] == "=" and text[end : end + 1] not in _CLOSING:
            end = _end_of(_FORM_VALUE, text, end)  # a value such as `"a"b`, not percent-encoded
        return blank.end(), end
    if _SCHEME.match(text, position):
        return position, _end_of(_LINE, text, position)
    if found["separator"] == "=":
        return position, _without_closing(text, position, _end_of(_FORM_VALUE, text, position))
    if found["indent"] is None:
        return position, _end_of(_MEMBER, text, position)
    return position, _end_of_block(text, _end_of(_LINE, text, position), found["indent"])


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()


def _end_of_quoted(text: str, position: int) -> int:
    """Return the end of the string, or of the list or mapping, that begins there."""
    string = _STRING.match(text, position)
    if string is not None:
        return string.end() if string["double"] or string["single"] else len(text)
    depth = 0
    for token in _TOKEN.finditer(text, position):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)


def _without_closing(text: str, start: int, end: int) -> int:
    """Return the end without the closing characters around a bare value: `User(token=abc)`."""
    while end > start and text[end - 1] in _CLOSING:
        end -= 1
    return end


def _end_of_block(text: str, end: int, indent: str) -> int:
    """Return the end of a YAML value that continues in lines with more indentation."""
    depth = len(indent.expandtabs())
    while end < len(text):
        start = end + (2 if text.startswith("\r\n", end) else 1)
        after = _end_of(_SPACE, text, start)
        line_end = _end_of(_LINE, text, after)
        inner = len(text[start:after].expandtabs())
        is_item = inner == depth and text.startswith("- ", after) and "-" not in indent
        if after < line_end and inner <= depth and not is_item:
            break
        if start >= len(text):
            break
        end = line_end
    return end


def values_in(text: str, span: Span) -> Iterator[str]:
    """Yield the value at a place that `pairs_in` found, or each member of a list or mapping."""
    value = text[slice(*span)]
    if value[:1] not in ("[", "{", "("):
        yield _without_quotes(value)
        return
    for member in _MEMBERS.finditer(value):
        yield _without_quotes(member[0])


def _without_quotes(value: str) -> str:
    value = value.removeprefix("b") if value[1:2] in ("'", '"') else value
    if value[:1] not in ("'", '"'):
        return value
    inner = value[1:].removesuffix(value[0])
    try:
        return str(json.loads(f'"{inner}"'))
    except ValueError:  # a Python string, not JSON
        return inner


# --- other forms ----------------------------------------------------------------------


def parts_in(text: str) -> Iterator[Span]:
    """Yield the places of the contents of multipart fields with a telling name."""
    position = 0
    while (found := _DISPOSITION.search(text, position)) is not None:
        position = found.end()
        name = _PART_NAME.search(found[1])
        content = _MORE_FIELDS.match(text, found.end())
        if name is not None and content is not None and is_secret(name[1]):
            end = text.find("\r\n--", content.end())
            position = len(text) if end < 0 else end
            yield content.end(), position


def _elements_in(text: str) -> Iterator[Span]:
    """Yield the places of the contents of XML elements with a telling name or attribute."""
    last_end_tags: dict[str, int] | None = None
    position = 0
    while (found := _ELEMENT.search(text, position)) is not None:
        position = found.end()
        if not is_secret(found[1]) and not is_secret(found[2]):
            continue
        if last_end_tags is None:
            last_end_tags = {tag[1]: tag.start() for tag in _END_TAG.finditer(text)}
        if last_end_tags.get(found[1], -1) >= position:
            end = text.find(f"</{found[1]}", position)
        else:
            end = text.find("<", position)
        end = len(text) if end < 0 else end
        if end > position:
            yield position, end
        position = end


def _credentials_in(text: str) -> Iterator[Span]:
    for found in _CREDENTIALS.finditer(text):
        kind = "bearer" if found["bearer"] else "basic"
        is_word = found[kind].isalpha() and len(found[kind]) < 16  # "basic authentication"
        if not is_word:
            yield found.span(kind)


def userinfo_in(text: str) -> Iterator[Span]:
    """Yield the places of a user name with a password in URLs: `postgres://ada:x@db`."""
    yield from (found.span() for found in _USERINFO.finditer(text))


def _cards_in(text: str) -> Iterator[Span]:
    for found in _CARD.finditer(text):
        digits = [int(each) for each in found[0].replace("%20", "") if each.isdigit()]
        if _has_check_digit(digits):
            yield found.span()


def _has_check_digit(digits: list[int]) -> bool:
    """Return whether the last digit of a card number is right. ISO/IEC 7812-1 annex B"""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


_FINDERS = (pairs_in, parts_in, _elements_in, _credentials_in, userinfo_in, _cards_in)
