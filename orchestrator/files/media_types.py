"""What a file is said to be when it is given out. Only media, so that no browser runs it."""

from __future__ import annotations

import mimetypes

_OTHER = "application/octet-stream"


def media_type(filename: str) -> str:
    """The media type of a name such as "beach.mp4"."""
    guessed = mimetypes.guess_type(filename)[0] or _OTHER
    is_media = guessed.startswith(("video/", "audio/", "image/")) and guessed != "image/svg+xml"
    return guessed if is_media else _OTHER
