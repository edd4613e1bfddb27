"""Proactive negotiation: the weights that a client sends, and the content coding that it gets.

RFC 9110 sections 12.4.2 (quality values), 12.5.1 (Accept) and 12.5.3 (Accept-Encoding).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from .headers import MAX_MEMBERS, list_members
from .request_head import HeaderSection

# weight = OWS ";" OWS "q=" qvalue                                          RFC 9110 section 12.4.2
# qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
# The weight among the parameters of a media range, in lower case.
_QUALITY = re.compile(r";[ \t]*+(q=[^;]*+)")

IDENTITY = "identity"
_CACHED_CHARS = 100  # browsers send 13 to 40; a longer field is never cached


def parse_weights(value: str) -> dict[str, float]:
    """Return the first 100 members of a weighted list, in lower case, with their weights.

    A member with an invalid weight is left out.
    """
    weights: dict[str, float] = {}
    for member in list_members(value.lower(), MAX_MEMBERS):
        name, semicolon, parameter = member.partition(";")
        weight = _WEIGHT.fullmatch(parameter.strip(" \t")) if semicolon else None
        if weight is not None:
            weights[name.rstrip(" \t")] = float(weight[1])
        elif not semicolon:
            weights[name] = 1.0
    return weights


def accept_of(section: HeaderSection) -> str:
    """Return the Accept field of a request, empty if there is none.

    Until the fields are parsed, it is found in their bytes: to parse all of them takes 5 us.
    """
    if section.parsed is None:
        lines = b"\r\n" + section.received
        _, name, rest = lines.lower().partition(b"\r\naccept:")
        if not name:
            return ""
        if b"\r\naccept:" not in rest:
            value, _, _ = lines[-len(rest) :].partition(b"\r\n")
            return value.strip(b" \t").decode("latin-1")
    return section.headers.by_name.get("accept", "")


def parse_accept(value: str) -> list[tuple[str, float]]:
    """Return the first 100 media ranges of an Accept field, in lower case, with their weights.

    Parameters of a range are dropped. A range with an invalid weight is left out.
    """
    ranges: list[tuple[str, float]] = []
    for member in list_members(value.lower(), MAX_MEMBERS):
        media_range, _, _ = member.partition(";")
        given = _QUALITY.search(member)
        weight = _WEIGHT.fullmatch(given[1].rstrip(" \t")) if given else None
        if weight is not None or not given:
            ranges.append((media_range.rstrip(" \t"), 1.0 if weight is None else float(weight[1])))
    return ranges


def choose_coding(accept_encoding: str, available: Sequence[str]) -> str:
    """Return the one of the `available` codings to use, `identity` for no coding.

    Among codings with the highest weight the first available one is chosen, and identity last.
    """
    weights = parse_weights(accept_encoding)
    for alias in ("gzip", "compress"):  # RFC 9110 section 8.4.1
        if f"x-{alias}" in weights:
            weights.setdefault(alias, weights[f"x-{alias}"])
    others = weights.get("*", 0.0)
    best = max(available, key=lambda coding: weights.get(coding, others), default=IDENTITY)
    weight = weights.get(best, others)
    # Identity is acceptable unless it is refused, but an accepted coding is preferred to it.
    return best if weight > 0.0 and weight >= weights.get(IDENTITY, 0.0) else IDENTITY


def refuses_identity(accept_encoding: str) -> bool:
    """Return whether the client refuses uncoded content: `identity;q=0`, or `*;q=0` alone."""
    weights = parse_weights(accept_encoding)
    return weights.get(IDENTITY, weights.get("*", 1.0)) == 0.0


@lru_cache(maxsize=256)
def _cached(accept_encoding: str, available: tuple[str, ...]) -> tuple[str, bool]:
    return choose_coding(accept_encoding, available), refuses_identity(accept_encoding)


def negotiate_coding(accept_encoding: str, available: tuple[str, ...]) -> tuple[str, bool]:
    """Return `choose_coding` and `refuses_identity`, cached if the field is short."""
    if len(accept_encoding) <= _CACHED_CHARS:
        return _cached(accept_encoding, available)
    return _cached.__wrapped__(accept_encoding, available)
