"""The signed values of one cookie, and a memo of those that verified.

A client sends one cookie with many requests, so a cookie that verified is found by its text. The
memo belongs to one signer: to its keys, and to the cookie's name and path. It holds the signed
bytes, never a parsed session, so no request sees the changes of another one. The age is checked
each time. A text that does not verify is never kept, so clients can't fill the memo with theirs.

The cookies are those of itsdangerous' `TimestampSigner`, with HMAC-SHA-256.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import MissingExtra
from ..http.cookies import MAX_NAME_AND_VALUE

try:
    from itsdangerous import BadData, base64_decode, base64_encode
except ImportError as error:
    raise MissingExtra("microweb.middleware.sessions", "itsdangerous") from error

MAX_VERIFIED = 1024  # cookies of at most 4 KiB with values of at most 3 KiB: 7 MiB

_SIGNATURE_CHARACTERS = 43  # of 32 bytes in base64


class _Verified(NamedTuple):
    value: bytes
    signed_at: int  # seconds since the epoch


class SignedValues:
    """Sign the values of one cookie, and verify them for `max_age` seconds.

    The first key signs, and all verify. A signature does not verify for another `purpose`. With
    `is_text`, values are characters that a cookie can hold; other values are in base64.
    """

    def __init__(self, keys: Sequence[bytes], purpose: str, max_age: int, *, is_text: bool) -> None:
        # A copy of an object with the derived key takes 3 us, a digest with the key 4. `Signer` of
        # itsdangerous, whose cookies these are, does more: it verifies one in 16 us, this in 11.
        derived = [hmac.digest(key, purpose.encode(), "sha256") for key in keys]
        self._keyed = [hmac.new(key, digestmod="sha256") for key in derived]
        self._max_age = max_age
        self._is_text = is_text
        # Text of a cookie -> its value; the one that was used longest ago is first and goes first.
        # To drop the oldest one instead would find up to 5 of 100 cookies less. A cookie that is
        # found takes 1.1 us.
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

    def sign(self, value: bytes) -> str:
        """Return `value` with the time and a signature, as the text of a cookie.

        It is kept as verified, because the client sends it next.
        """
        now = int(time.time())
        text = value if self._is_text else base64_encode(value)
        signed_at = base64_encode(now.to_bytes((now.bit_length() + 7) // 8, "big"))
        data = b"%b.%b" % (text, signed_at)
        signed = (b"%b.%b" % (data, _signature(self._keyed[0], data))).decode("ascii")
        self._keep(signed, _Verified(value, now))
        return signed

    def value_of(self, signed: str) -> bytes:
        """Return the value of a cookie; b"" if the cookie is forged or has expired."""
        # Taken out and put back at the end, because threads may do the same.
        verified = self._verified.pop(signed, None) or self._verify(signed)
        # It may be signed in the future, by a server whose clock is ahead.
        if verified is None or time.time() - self._max_age > verified.signed_at:
            return b""
        self._keep(signed, verified)
        return verified.value

    def _verify(self, signed: str) -> _Verified | None:
        payload, _, signature = signed.rpartition(".")
        # A request can have a thousand short cookies: save a digest, of 5 us, for each.
        if len(signature) != _SIGNATURE_CHARACTERS:
            return None
        data, given = payload.encode(), signature.encode()
        for keyed in self._keyed:
            if hmac.compare_digest(given, _signature(keyed, data)):
                break
        else:
            return None
        try:
            text, _, signed_at = data.rpartition(b".")
            value = text if self._is_text else base64_decode(text)
            return _Verified(value, int.from_bytes(base64_decode(signed_at), "big"))
        except BadData:
            return None

    def _keep(self, signed: str, verified: _Verified) -> None:
        if len(signed) <= MAX_NAME_AND_VALUE:  # no client gets a larger one
            self._verified[signed] = verified
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)


def _signature(keyed: hmac.HMAC, data: bytes) -> bytes:
    """Return the signature of `data`; `keyed` stays as it is, for other cookies."""
    signed = keyed.copy()
    signed.update(data)
    return base64_encode(signed.digest())
