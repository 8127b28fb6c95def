"""Read a filter as callers write it (google.aip.dev/160). Pure.

`state = RUNNING AND (labels.show = "news" OR priority >= 80)`: OR binds more tightly than
AND, as the standard has it. The grammar is lark's to run; what it means is ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn, cast

from apigpu.video.v1.job_pb2 import Job
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, VisitError

from apigpu_common.errors import InvalidInput
from orchestrator.jobs.fields import FIELDS, OPERATIONS, STATES, Kind, seconds_of_text
from orchestrator.jobs.filters import EVERYTHING, And, Compare, Filter, HasLabel, Not, Operator, Or

_GRAMMAR = r"""
    ?start: expression
    ?expression: factor (_AND factor)*
    ?factor: term (_OR term)*
    ?term: _NOT simple -> negation
         | "-" simple -> negation
         | simple
    ?simple: restriction | "(" expression ")"
    restriction: WORD ["." WORD] COMPARATOR (WORD | NUMBER | STRING) -> comparison
               | WORD ["." WORD] ":" (WORD | NUMBER | STRING | STAR) -> has

    COMPARATOR: "<=" | ">=" | "!=" | "=" | "<" | ">"
    STAR: "*"
    STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
    NUMBER.1: /-?[0-9]+(?:\.[0-9]+)?(?![\w-])/
    WORD: /[A-Za-z0-9_](?:[\w-])*/
    _AND.2: /AND(?![\w-])/
    _OR.2: /OR(?![\w-])/
    _NOT.2: /NOT(?![\w-])/
    %import common.WS
    %ignore WS
"""
_COMPARABLE = (Kind.NUMBER, Kind.TIME)
_LABEL = re.compile(r"[a-z][a-z0-9_-]*")
_JOB = re.compile(r"(jobs/[a-z0-9-]{1,63})?")
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_EXAMPLE = 'expected something like `state = RUNNING AND labels.show = "news"`'


def parse(text: str) -> Filter:
    """What `text` means. Raises InvalidInput (INVALID_FILTER), which shows the place."""
    if not text.strip():
        return EVERYTHING
    try:
        return _READER.transform(_PARSER.parse(text))
    except UnexpectedInput as error:
        place: int = getattr(error, "pos_in_stream", -1)  # -1: at the end
        _refuse(text[place:] if place >= 0 else "", _EXAMPLE)
    except VisitError as error:
        if isinstance(error.orig_exc, InvalidInput):
            raise error.orig_exc from None
        raise


@v_args(inline=True)
class _Reader(Transformer[Token, Filter]):
    """Turns the parsed text into the tree of its meaning."""

    def expression(self, *parts: Filter) -> Filter:
        return And(parts)

    def factor(self, *parts: Filter) -> Filter:
        return Or(parts)

    def negation(self, part: Filter) -> Filter:
        return Not(part)

    def comparison(self, field: Token, key: Token | None, comparator: Token, arg: Token) -> Filter:
        return _comparison(str(field), key, cast(Operator, str(comparator)), _text(arg))

    def has(self, field: Token, key: Token | None, arg: Token) -> Filter:
        if field != "labels":
            _refuse(field, "the operator : is for labels, like `labels:show`")
        if key is None:
            return HasLabel(_label(_text(arg)))
        if arg.type == "STAR":
            return HasLabel(_label(key))
        return Compare("labels", "=", _text(arg), _label(key))


def _comparison(field: str, key: Token | None, operator: Operator, text: str) -> Compare:
    if field == "labels" and key is not None:
        _only_equality(operator, f"labels.{key}")
        return Compare("labels", operator, text, _label(key))
    kind = FIELDS.get(field)
    if kind is None or key is not None:
        name = field if key is None else f"{field}.{key}"
        _refuse(name, f"fields are {', '.join(FIELDS)} and labels.{{key}}")
    if kind not in _COMPARABLE:
        _only_equality(operator, field)
    return Compare(field, operator, _value(field, kind, text))


def _value(field: str, kind: Kind, text: str) -> str | int | float:
    """What a text says for a field of that kind."""
    match kind:
        case Kind.STATE:
            _one_of(field, text, STATES)
            return int(Job.State.Value(text))
        case Kind.OPERATION:
            _one_of(field, text, OPERATIONS)
        case Kind.JOB:
            if not _JOB.fullmatch(text):
                _refuse(text, f'{field} is the name of a job, like "jobs/0191..."')
        case Kind.NUMBER:
            if not _NUMBER.fullmatch(text):
                _refuse(text, f"{field} is a whole number")
            return int(text)
        case Kind.TIME:
            return _time(field, text)
    return text


def _one_of(field: str, text: str, words: Sequence[str]) -> None:
    if text not in words:
        _refuse(text, f"{field} is one of {', '.join(words)}")


def _time(field: str, text: str) -> float:
    try:
        return seconds_of_text(text)
    except (ValueError, OverflowError):
        _refuse(text, f'{field} is a time like "2026-01-31T12:00:00Z"')


def _only_equality(operator: Operator, field: str) -> None:
    if operator not in ("=", "!="):
        _refuse(operator, f"{field} can be compared with = and != alone")


def _label(key: str) -> str:
    if not _LABEL.fullmatch(key):
        _refuse(key, "a label's key is small letters, digits, '_' and '-', a letter first")
    return str(key)


def _text(arg: Token) -> str:
    """What a value says, without its quotes."""
    if arg.type == "STRING":
        return re.sub(r"\\(.)", r"\1", arg[1:-1], flags=re.DOTALL)
    return str(arg)


def _refuse(part: str, hint: str) -> NoReturn:
    where = repr(str(part)[:60]) if part else "its end"
    raise InvalidInput(
        "INVALID_FILTER", f"The filter is not understood at {where}: {hint}.", field="filter"
    )


_PARSER: Any = Lark(_GRAMMAR, parser="lalr", maybe_placeholders=True)
_READER = _Reader()
