"""What a pattern of the contract asks for, in words: nobody should have to read an expression to
learn what is wrong with a name."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"`(.*)`", re.DOTALL)
_COLOR = 'must be a colour like "#1e90ff"'
WORDS = {
    r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$": 'must be a rate like "100/minute": a number'
    " from 1 on, then /second, /minute, /hour or /day",
    r"^[a-z0-9][a-z0-9._-]{0,62}$": "must be 1 to 63 lower-case letters, digits, dots, underscores"
    " and hyphens, with a letter or digit first",
    r"^keys/[a-z0-9]{1,32}$": 'must be the name of a key, like "keys/5f0c12ab"',
    r"^(#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?)?$": f'{_COLOR}, or "#1e90ff80" with its opacity',
    r"^(#[0-9a-fA-F]{6})?$": _COLOR,
    r"^[A-Za-z0-9.:_-]{1,128}$": "must be 1 to 128 letters, digits, dots, colons, underscores and"
    " hyphens",
    r"^[A-Za-z0-9._:-]{16,128}$": "must be 16 to 128 letters, digits, dots, colons, underscores and"
    " hyphens: something that nobody guesses",
    r"^jobs/[a-z0-9][a-z0-9-]{0,62}$": 'must be the name of a job, as it was given: "jobs/..."',
    r"^files/[a-z0-9][a-z0-9-]{0,62}$": 'must be the name of a file, as it was given: "files/..."',
    r"^[0-9a-f]{64}$": "must be a SHA-256: 64 lower-case hexadecimal digits",
    r"^[a-z][a-z0-9_-]{0,62}$": "must be 1 to 63 lower-case letters, digits, underscores and"
    " hyphens, with a letter first",
}


def in_words(message: str) -> str:
    """`message` of a rule that was broken, without the expression where it has one."""
    found = _PATTERN.search(message)
    return WORDS.get(found[1], message) if found else message
