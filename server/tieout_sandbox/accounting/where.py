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
      (?P<text>"[^"]*") | (?P<number>-?\d+(?:\.\d+)?m?) | (?P<name>[A-Za-z_][A-Za-z0-9_.]*) |
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
_GUID, _DATE, _NUMBER, _FLAG, _TEXT = "Guid", "DateTime?", "Decimal?", "Boolean?", "String"
_KINDS = {
    _DATE: frozenset({"date", "duedate", "expectedpaymentdate", "fullypaidondate", "updateddateutc"}),
    _NUMBER: frozenset(
        {
            "amount", "amountcredited", "amountdue", "amountpaid", "remainingcredit", "subtotal", "total",
            "totalamount", "totaltax",
        }
    ),
    _FLAG: frozenset(
        {"enablepaymentstoaccount", "iscustomer", "isreconciled", "issubscriber", "issupplier", "senttocontact"}
    ),
}  # fmt: skip
"""Fields by what they are, as Xero's refusals call it; of all others, those that end in id are ids, the rest texts."""
_ORDERED = frozenset({_DATE, _NUMBER, _TEXT})
_NULL = "Object"
_METHODS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_WORDS = frozenset({"and", "or", "null", "true", "false", "guid", "guid.parse", "datetime", "datetime.parse"})
_DEEPEST = 30
_DATE_PARTS = (3, 6)
"""DateTime(year, month, day[, hour, minute, second])."""


class QueryParseError(Exception):
    """The where or order expression cannot be read."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Literal:
    kind: str
    value: Value


def parse_where(expression: str, fields: Fields) -> Predicate:
    """A test for documents out of an expression such as `Type=="ACCREC" AND Date >= DateTime(2026, 1, 31)`.

    Names and keywords are read without regard to case; text is compared exactly, and cannot contain a quotation mark:
    no way to escape one is known (XeroAPI/Xero-Java #347). A comparison with a missing value is false, except `== null`
    and `!=`. Nothing is converted: an id is compared with `guid("…")` only, a date with `DateTime(…)` only.

    Raises:
        QueryParseError: it is not of this language, names a field that cannot be asked for, or compares it with a value
            of another kind (in Xero's words: freakboy3742/pyxero #46, #200 and #217, XeroAPI/Xero-NetStandard #597).
    """
    return _Parser(_tokens(expression), fields).parse()


def kind_of(name: str) -> str:
    """What a field (lower case) is: Guid, DateTime?, Decimal?, Boolean? or String."""
    last = name.rpartition(".")[2]
    known = (kind for kind, names in _KINDS.items() if last in names)
    return next(known, _GUID if last.endswith("id") else _TEXT)


def guid(text: str) -> str:
    """An id as the books spell it; without hyphens it is the same one, as .NET reads it and pyxero sends it.

    Raises:
        QueryParseError: it is none.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise QueryParseError("Unrecognized Guid format.") from None


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
            return self._method_call(stem, method)
        read, kind = self._field(name), kind_of(name.lower())
        if self._peek() not in _COMPARISONS:
            if kind is not _FLAG:
                raise QueryParseError("Expression of type 'Boolean' expected")
            return lambda document: read(document) is True
        sign, literal = self._next("sign").text, self._literal()
        _check_kinds(kind, sign, literal)
        return _compare(read, sign, literal.value)

    def _method_call(self, name: str, called: str) -> Predicate:
        read, kind, method = self._field(name), kind_of(name.lower()), _METHODS[called.lower()]
        if kind is not _TEXT:
            raise QueryParseError(f"No applicable method '{called}' exists in type '{kind}'")
        self._expect("(")
        part = self._next("text").text.strip('"')
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

    def _literal(self) -> _Literal:
        token = self._next()
        word = token.text.lower()
        if token.kind == "text":
            return _Literal(_TEXT, token.text.strip('"'))
        if token.kind == "number":
            return _Literal("Decimal", Decimal(word.rstrip("m")))
        if word == "null":
            return _Literal(_NULL, None)
        if word in {"true", "false"}:
            return _Literal("Boolean", word == "true")
        if word in {"guid", "guid.parse"}:
            self._expect("(")
            value = guid(self._next("text").text.strip('"'))
            self._expect(")")
            return _Literal(_GUID, value)
        if word in {"datetime", "datetime.parse"}:
            return _Literal("DateTime", self._datetime())
        raise QueryParseError(f"Unexpected {token.text}")

    def _datetime(self) -> datetime:
        self._expect("(")
        if self._peek().startswith('"'):
            parsed = _parsed_datetime(self._next("text").text.strip('"'))
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


def _check_kinds(field: str, sign: str, literal: _Literal) -> None:
    fits = literal.kind in {field.rstrip("?"), _NULL}
    if not fits or (sign not in _EQUALITIES and (field not in _ORDERED or literal.kind == _NULL)):
        raise QueryParseError(f"Operator '{sign}' incompatible with operand types '{field}' and '{literal.kind}'")


def _compare(read: Callable[[Any], Value], sign: str, value: Value) -> Predicate:
    compare = _COMPARISONS[sign]
    if sign in _EQUALITIES:
        return lambda document: compare(read(document), value)

    def test(document: Any) -> bool:  # noqa: ANN401 any kind of document
        found = read(document)
        return found is not None and compare(found, value)

    return test


def _parsed_datetime(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise QueryParseError("That is no date") from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
