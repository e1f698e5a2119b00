"""What ClickHouse's tokens need before sqlglot's parser reads them faithfully. Each item has a fixture case."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp
from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.parsers.clickhouse import ClickHouseParser
from sqlglot.tokenizer_core import Token, TokenType

from gateway.sql.dialects.tokens import MARK, OPERAND_ENDS, Unfaithful, closing_brackets, like, untype_calls

_SPECIAL = frozenset({"EXISTS", "ALL", "CAST", "EXTRACT", "TRIM", "SUBSTRING", "POSITION", "COLUMNS", "VIEW"})
"""Calls with a syntax of their own; sqlglot reads and prints these right."""

KNOWN_CALLS = (
    frozenset({*ClickHouseParser.FUNCTIONS, *ClickHouseParser.FUNCTION_PARSERS, "IF", "ANY", "LIKE"})
    - _SPECIAL
)
PARAMETRIC = "\0p"
"""Ends the name of a call with parameters, `f(parameters)(arguments)`, whose first argument they became."""

_TYPE_TOKENS = frozenset(ClickHouseParser.TYPE_TOKENS) - {TokenType.INTERVAL}
_DATE_LITERALS = {TokenType.DATE: "toDate", TokenType.TIMESTAMP: "toDateTime"}
_COMPARISONS = frozenset(
    {TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE}
)
_NAMES = frozenset({TokenType.VAR, TokenType.ANY})
_UNIT_CALLS = frozenset(
    f"{what}{gap}{verb}"
    for what in ("date", "timestamp")
    for gap in ("", "_")
    for verb in ("add", "sub", "diff")
)
_UNITS = frozenset(
    "nanosecond microsecond millisecond second minute hour day week month quarter year".split()  # noqa: SIM905
)
_NUMBER_WORDS = frozenset({"inf", "infinity", "nan"})


class GatewayClickHouse(ClickHouse):
    """ClickHouse as the gateway reads and writes it."""


def amend(tokens: list[Token], text: str) -> list[Token]:
    """The tokens to parse instead; they keep the places of the text."""
    untype_calls(tokens, _TYPE_TOKENS)
    closing = closing_brackets(tokens)
    after: dict[int, list[Token]] = {}
    """Tokens to put behind the one at an index."""
    dropped: set[int] = set()
    for index, token in enumerate(tokens[:-1]):
        kind, following = token.token_type, tokens[index + 1].token_type
        if following is TokenType.L_PAREN:
            _call(tokens, index, closing, after, dropped)
        elif kind is TokenType.NUMBER:
            if following is TokenType.DCOLON:
                _typed_number(tokens, index, dropped)
        elif kind is TokenType.INTERVAL:
            if following is TokenType.NUMBER:
                # sqlglot makes a string of the number; the mark brings it back.
                tokens[index + 1].text += MARK
                tokens[index + 1].token_type = TokenType.STRING
        elif following is TokenType.STRING:
            if kind in _DATE_LITERALS:
                _date_literal(tokens, index, after)
            elif kind in _TYPE_TOKENS:
                token.token_type = TokenType.VAR
        elif kind in _TYPE_TOKENS:
            if following in (TokenType.NUMBER, TokenType.DOT):
                # A column called `map` or `point`; sqlglot takes `map.1` for a typed literal.
                token.token_type = TokenType.VAR
        elif kind is TokenType.VAR and token.text.upper() == "MOD" and _ends_operand(tokens, index - 1):
            token.token_type = TokenType.MOD
    if not after and not dropped:
        return tokens
    out: list[Token] = []
    for index, token in enumerate(tokens):
        if index not in dropped:
            out.append(token)
        out.extend(after.get(index, ()))
    return out


def _ends_operand(tokens: list[Token], index: int) -> bool:
    return index >= 0 and tokens[index].token_type in OPERAND_ENDS


def _call(
    tokens: list[Token], index: int, closing: dict[int, int], after: dict[int, list[Token]], dropped: set[int]
) -> None:
    token = tokens[index]
    if token.token_type is TokenType.IDENTIFIER:
        return
    if (
        token.token_type is TokenType.IN
        and not _ends_operand(tokens, index - 1)
        and _starts_call(tokens, index)
    ):
        # The function form `in(x, t)`.
        token.token_type = TokenType.VAR
    known = token.text.upper() in KNOWN_CALLS
    if not known and token.token_type not in _NAMES:
        return
    before = tokens[index - 1].token_type if index else TokenType.SENTINEL
    if token.token_type is TokenType.ANY and before in _COMPARISONS:
        return
    if before in (TokenType.STAR, TokenType.R_PAREN) and token.text.upper() == "REPLACE":
        return
    end = closing.get(index + 1, len(tokens))
    if end + 1 < len(tokens) and tokens[end + 1].token_type is TokenType.L_PAREN:
        # f(p)(a) -> f((p), a): sqlglot knows the two-bracket form only for some functions.
        token.text += PARAMETRIC
        after[index + 1] = [like(tokens[index + 1], TokenType.L_PAREN, "(")]
        no_arguments = closing.get(end + 1) == end + 2
        if not no_arguments:
            after[end] = [like(tokens[end], TokenType.COMMA, ",")]
        dropped.add(end + 1)
    elif known:
        token.text += MARK


def _starts_call(tokens: list[Token], index: int) -> bool:
    """Whether an `in` here is not the operator of `NOT IN`, `GLOBAL IN` or of a word used as a name."""
    before = tokens[index - 1].token_type if index else TokenType.SENTINEL
    return before in _BEFORE_CALL


_BEFORE_CALL = frozenset(
    {
        TokenType.SELECT,
        TokenType.COMMA,
        TokenType.L_PAREN,
        TokenType.L_BRACKET,
        TokenType.WHERE,
        TokenType.PREWHERE,
        TokenType.HAVING,
        TokenType.AND,
        TokenType.OR,
        TokenType.ON,
        TokenType.WHEN,
        TokenType.THEN,
        TokenType.ELSE,
        TokenType.ARROW,
        TokenType.EQ,
        TokenType.DISTINCT,
    }
)


def _typed_number(tokens: list[Token], index: int, dropped: set[int]) -> None:
    """`-0.1::Decimal(9, 1)` reads the digits as text; CAST(0.1 AS …) would go through a float."""
    token = tokens[index]
    token.token_type = TokenType.STRING
    if index and tokens[index - 1].token_type is TokenType.DASH and not _ends_operand(tokens, index - 2):
        token.text = f"-{token.text}"
        dropped.add(index - 1)


def _date_literal(tokens: list[Token], index: int, after: dict[int, list[Token]]) -> None:
    """`DATE '…'` is the call toDate('…')."""
    token = tokens[index]
    token.text = _DATE_LITERALS[token.token_type] + MARK
    token.token_type = TokenType.VAR
    after[index] = [like(token, TokenType.L_PAREN, "(")]
    after[index + 1] = [like(tokens[index + 1], TokenType.R_PAREN, ")")]


def settle(tree: exp.Expr) -> exp.Expr:
    """Mend nodes whose printed form is not what was written; returns the root, which may be new."""
    for node in list(tree.walk()):
        mended = _MENDERS.get(type(node))
        if mended is not None:
            replacement = mended(node)
            if replacement is not node:
                if node is tree:
                    tree = replacement
                else:
                    node.replace(replacement)
    return tree


def _int_div(node: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="intDiv", expressions=[node.this, node.expression])


def _if(node: exp.Expr) -> exp.Expr:
    if isinstance(node.parent, exp.Case):
        return node
    branches = [node.this, node.args.get("true"), node.args.get("false")]
    return exp.Anonymous(this="if", expressions=[branch for branch in branches if branch is not None])


def _anonymous(node: exp.Expr) -> exp.Expr:
    name = node.name
    if name.endswith(PARAMETRIC):
        first, *arguments = node.expressions
        parameters = first.expressions if isinstance(first, exp.Tuple) else [first.unnest()]
        call = exp.ParameterizedAgg(this=name[: -len(PARAMETRIC)], expressions=parameters, params=arguments)
        call.meta.update(node.meta)
        return call
    if name.lower() in _UNIT_CALLS and node.expressions:
        unit = node.expressions[0]
        if isinstance(unit, exp.Column) and not unit.table and unit.name.lower() in _UNITS:
            unit.replace(exp.Var(this=unit.name))
    return node


def _column(node: exp.Expr) -> exp.Expr:
    """`inf` and `nan` are numbers, not names."""
    name = node.this
    bare = isinstance(name, exp.Identifier) and not name.quoted and not node.args.get("table")
    return exp.Var(this=name.name) if bare and name.name.lower() in _NUMBER_WORDS else node


def _interval(node: exp.Expr) -> exp.Expr:
    number = node.this
    if isinstance(number, exp.Literal) and number.name.endswith(MARK):
        node.set("this", exp.Literal.number(number.name[:-1]))
    return node


def _select(node: exp.Expr) -> exp.Expr:
    """SAMPLE hangs on the table; sqlglot prints it behind WHERE when it hangs on the query."""
    sample = node.args.get("sample")
    source = node.args.get("from_")
    table = source.this if isinstance(source, exp.From) else None
    table = table.this if isinstance(table, exp.Final) else table
    if sample is not None and isinstance(table, exp.Table):
        node.set("sample", None)
        table.set("sample", sample)
    return node


def _equal(node: exp.Expr) -> exp.Expr:
    """`x = ANY (query)` is `x IN (query)`; sqlglot prints the former as a call."""
    right = node.expression
    if isinstance(right, exp.Any) and isinstance(right.this, exp.Query):
        return exp.In(this=node.this, query=exp.Subquery(this=right.this.unnest()))
    return node


def _json(node: exp.Expr) -> exp.Expr:
    """No ClickHouse operator becomes this node, so it was an arrow: a lambda where sqlglot expects none."""
    offset = next((part.meta["start"] for part in node.walk() if part.args and "start" in part.meta), 0)
    raise Unfaithful("A lambda that is named in WITH is not supported; write it inside the call.", offset)


def _aliases(node: exp.Expr) -> exp.Expr:
    """`x AS (a, b)` is not ClickHouse; sqlglot reads some calls with a reserved name so."""
    offset = next((part.meta["start"] for part in node.walk() if part.args and "start" in part.meta), 0)
    raise Unfaithful("This is read as a list of aliases, which ClickHouse does not have.", offset)


_MENDERS: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.EQ: _equal,
    exp.IntDiv: _int_div,
    exp.If: _if,
    exp.Anonymous: _anonymous,
    exp.Column: _column,
    exp.Interval: _interval,
    exp.Select: _select,
    exp.JSONExtract: _json,
    exp.Aliases: _aliases,
}
