"""URLs as they go onto the wire: what a signed link says stays as it is, byte for byte. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

import yarl

_PARTS = re.compile(r"(https?)://([^/?#]+)([^#]*)(#.*)?", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_FOR_THE_WIRE = re.compile(r"[^\x21-\x7e]+")


def exact(url: str) -> yarl.URL:
    """`url`, ready to be sent. Escapes ("%2F", "+") stay as they are; what HTTP cannot carry
    (spaces, letters beyond ASCII) is escaped, as browsers do. Raises ValueError, with what is
    wrong, where it is no URL of http or https."""
    if _CONTROL.search(url):
        raise ValueError("has a line break or another control character in it")
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise ValueError("is no http:// or https:// URL")
    scheme, authority, rest, _ = parts.groups()
    rest = _NOT_FOR_THE_WIRE.sub(lambda found: quote(found[0]), rest)
    # The library knows how names beyond ASCII are written, and refuses what is none.
    host = yarl.URL(f"{scheme.lower()}://{authority}")
    if not host.host or _NOT_FOR_THE_WIRE.search(host.raw_authority):
        raise ValueError("names no usable host")
    slash = "" if rest.startswith("/") else "/"
    return yarl.URL(f"{host.scheme}://{host.raw_authority}{slash}{rest}", encoded=True)


def follow(url: yarl.URL, location: str) -> yarl.URL:
    """Where a redirect from `url` leads. Raises ValueError."""
    return exact(urljoin(str(url), location.strip(" \t")))
