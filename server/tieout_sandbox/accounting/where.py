"""Xero's `where` language: a small real parser for the subset that its documentation shows."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias, cast
from uuid import UUID

Value: TypeAlias = str | Decimal | bool | datetime | None
Fields: TypeAlias = Mapping[str, Callable[[Any], Value]]
"""What can be asked of a document: name as in the API (lower case) -> how to read it."""
Predicate: TypeAlias = Callable[[Any], bool]

_TOKENS = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\]|\\.)*") | (?P<number>-?\d+(?:\.\d+)?m?) | (?P<name>[A-Za-z_][A-Za-z0-9_.]*) |
      (?P<sign>==|!=|<=|>=|&&|\|\||[=<>(),])
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITIES = frozenset({"=", "==", "!="})
_METHODS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_WORDS = frozenset({"and", "or", "null", "true", "false", "guid", "guid.parse", "datetime", "datetime.parse"})
_BARE_GUID = re.compile(r"[0-9a-f]{32}")
_DEEPEST = 30
_DATE_PARTS = (3, 6)
"""DateTime(year, month, day[, hour, minute, second])."""


class QueryParseError(Exception):
    """The where or order expression cannot be read."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse_where(expression: str, fields: Fields) -> Predicate:
    """A test for documents out of an expression such as `Type=="ACCREC" AND Date >= DateTime(2026, 1, 31)`.

    Names and keywords are read without regard to case; text is compared exactly; a comparison with a missing value is
    false, except `== null` and `!=`.

    Raises:
        QueryParseError: it is not of this language, or names a field that cannot be asked for.
    """
    return _Parser(_tokens(expression), fields).parse()


def guid(text: str) -> str:
    """An id as the books spell it; without hyphens it is the same one, as .NET reads it and pyxero sends it."""
    lower = text.lower()
    return str(UUID(lower)) if _BARE_GUID.fullmatch(lower) else lower


def names_in(expression: str) -> tuple[frozenset[str], bool]:
    """The fields that an expression names, lower case, and whether an OR joins anything in it.

    Raises:
        QueryParseError: it is not of this language.
    """
    tokens = _tokens(expression)
    joins = any(token.text.lower() in {"or", "||"} for token in tokens)
    names = {token.text.lower() for token in tokens if token.kind == "name"}
    stems = {stem if method in _METHODS else name for name in names for stem, _, method in [name.rpartition(".")]}
    return frozenset(stems - _WORDS), joins


def _tokens(expression: str) -> list[_Token]:
    found, position, end = [], 0, len(expression.rstrip())
    while position < end:
        match = _TOKENS.match(expression, position)
        if match is None:
            raise QueryParseError(f"Syntax error at position {position}")
        kind = cast("str", match.lastgroup)
        found.append(_Token(kind, match.group(kind)))
        position = match.end()
    return found


class _Parser:
    """Recursive descent: or < and < comparison; each rule answers with a test."""

    def __init__(self, tokens: list[_Token], fields: Fields) -> None:
        self._tokens = tokens
        self._fields = fields
        self._position = 0
        self._depth = 0

    def parse(self) -> Predicate:
        test = self._either()
        if self._position < len(self._tokens):
            raise QueryParseError(f"Unexpected {self._peek()}")
        return test

    def _either(self) -> Predicate:
        tests = [self._both()]
        while self._accept("or", "||"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda document: any(test(document) for test in tests)

    def _both(self) -> Predicate:
        tests = [self._term()]
        while self._accept("and", "&&"):
            tests.append(self._term())
        return tests[0] if len(tests) == 1 else lambda document: all(test(document) for test in tests)

    def _term(self) -> Predicate:
        if not self._accept("("):
            return self._comparison()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise QueryParseError("Too many parentheses")
        test = self._either()
        self._expect(")")
        self._depth -= 1
        return test

    def _comparison(self) -> Predicate:
        name = self._next("name").text
        stem, _, method = name.rpartition(".")
        if method.lower() in _METHODS and self._peek() == "(":
            return self._method_call(self._field(stem), _METHODS[method.lower()])
        read = self._field(name)
        if self._peek() not in _COMPARISONS:
            return lambda document: read(document) is True
        sign = self._next("sign").text
        return _compare(read, sign, self._value())

    def _method_call(self, read: Callable[[Any], Value], method: Callable[[str, str], bool]) -> Predicate:
        self._expect("(")
        part = _unquoted(self._next("text").text)
        self._expect(")")

        def test(document: Any) -> bool:  # noqa: ANN401 any kind of document
            text = read(document)
            return isinstance(text, str) and method(text, part)

        return test

    def _field(self, name: str) -> Callable[[Any], Value]:
        read = self._fields.get(name.lower())
        if read is None:
            raise QueryParseError(f"No property or field '{name}' exists")
        return read

    def _value(self) -> Value:
        token = self._next()
        word = token.text.lower()
        if token.kind == "text":
            return _unquoted(token.text)
        if token.kind == "number":
            return Decimal(word.rstrip("m"))
        if word in {"null", "true", "false"}:
            return {"null": None, "true": True, "false": False}[word]
        if word in {"guid", "guid.parse"}:
            self._expect("(")
            value = guid(_unquoted(self._next("text").text))
            self._expect(")")
            return value
        if word in {"datetime", "datetime.parse"}:
            return self._datetime()
        raise QueryParseError(f"Unexpected {token.text}")

    def _datetime(self) -> datetime:
        self._expect("(")
        if self._peek().startswith('"'):
            parsed = _parsed_datetime(_unquoted(self._next("text").text))
            self._expect(")")
            return parsed
        parts = [self._whole_number()]
        while self._accept(","):
            parts.append(self._whole_number())
        self._expect(")")
        if len(parts) not in _DATE_PARTS:
            raise QueryParseError("That is no date")
        year, month, day, hour, minute, second = (*parts, 0, 0, 0)[:6]
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as error:
            raise QueryParseError("That is no date") from error

    def _whole_number(self) -> int:
        text = self._next("number").text
        if not text.isdigit():
            raise QueryParseError(f"Unexpected {text}")
        return int(text)

    def _peek(self) -> str:
        return self._tokens[self._position].text if self._position < len(self._tokens) else ""

    def _accept(self, *words: str) -> bool:
        if self._peek().lower() not in words:
            return False
        self._position += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise QueryParseError(f"'{word}' expected")

    def _next(self, kind: str | None = None) -> _Token:
        if self._position >= len(self._tokens) or (kind and self._tokens[self._position].kind != kind):
            raise QueryParseError(f"Expression expected before '{self._peek()}'")
        self._position += 1
        return self._tokens[self._position - 1]


def _compare(read: Callable[[Any], Value], sign: str, value: Value) -> Predicate:
    compare = _COMPARISONS[sign]
    if sign not in _EQUALITIES and (value is None or isinstance(value, bool)):
        raise QueryParseError(f"Operator '{sign}' cannot be applied here")

    def test(document: Any) -> bool:  # noqa: ANN401 any kind of document
        found = read(document)
        if sign in _EQUALITIES:
            return compare(found, value)
        # Values of different kinds have no order: such a document simply does not match.
        return found is not None and type(found) is type(value) and compare(found, value)

    return test


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _parsed_datetime(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise QueryParseError("That is no date") from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
