"""The changes that are made, by solc's syntax tree: what a slip of the hand or of the mind would make of the code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from tests.mutation.mutant import Edit

Node = dict[str, Any]

SWAPS: Final = {
    "comparison": {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    "logic": {"&&": "||", "||": "&&"},
    "arithmetic": {
        "+": "-",
        "-": "+",
        "*": "/",
        "/": "*",
        "%": "*",
        "<<": ">>",
        ">>": "<<",
        "&": "|",
        "|": "&",
        "^": "&",
    },
    "assignment": {"+=": "-=", "-=": "+=", "*=": "=", "/=": "=", "|=": "&=", "&=": "|=", "<<=": ">>=", ">>=": "<<="},
}
IN_ASSEMBLY: Final = {
    "add": "sub", "sub": "add", "mul": "add", "div": "mul", "shl": "shr", "shr": "shl", "and": "or", "or": "and",
    "lt": "gt", "gt": "lt", "iszero": "not", "eq": "xor",
}  # fmt: skip
DELETED: Final = {"ExpressionStatement", "EmitStatement", "RevertStatement", "YulExpressionStatement", "YulAssignment"}
"""Statements without which the code still compiles."""
UNITS: Final = {
    *DELETED, "VariableDeclarationStatement", "Return", "YulVariableDeclaration", "VariableDeclaration",
}  # fmt: skip
OPERATORS: Final = {
    "comparison": "a limit moves by one, or equal and unequal change places",
    "logic": "and for or",
    "operand": "one side of a condition alone",
    "negation": "the condition turned round",
    "arithmetic": "plus for minus, times for divided by, left for right",
    "assignment": "added for taken away",
    "constant": "a number one higher or lower, true for false",
    "branches": "the two results of `?:` change places",
    "arguments": "two neighbouring arguments of one type change places",
    "statement": "a statement is gone",
    "guard": "a condition with what it guards is gone",
    "modifier": "a modifier is gone: reentrancy, pause, who may call",
    "unchecked": "checked arithmetic is unchecked, or the other way round",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """What surrounds a node."""

    contract: str = ""
    function: str = ""
    unit: tuple[int, int] = (0, 0)
    checked: bool = True

    @property
    def place(self) -> str:
        return ".".join(name for name in (self.contract, self.function) if name)


def edits_of(file: str, tree: Node, source: bytes) -> list[Edit]:
    """All changes of one file. `tree` is solc's syntax tree of it, whose places count bytes."""
    return list(_File(file, source).walk(tree, _Where()))


def span(node: Node) -> tuple[int, int]:
    """First byte of a node, and the one after its last."""
    start, length, _ = map(int, node["src"].split(":"))
    return start, start + length


def _children(node: Node) -> Iterator[Node]:
    for key, value in node.items():
        if key in ("documentation", "overrides", "typeName", "externalReferences"):
            continue
        for child in value if isinstance(value, list) else [value]:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(child, dict) and "src" in child:
                yield child  # pyright: ignore[reportUnknownArgumentType]


class _File:
    """One file's walk. Each kind of node has its method, named after it."""

    def __init__(self, file: str, source: bytes) -> None:
        self._file = file
        self._source = source

    def walk(self, node: Node, where: _Where) -> Iterator[Edit]:
        kind: str = node.get("nodeType", "")
        where = self._enter(node, kind, where)
        if kind in DELETED and where.function:
            yield self._gone(where, "statement", node)
        visit: Callable[[Node, _Where], Iterator[Edit]] | None = getattr(self, f"_{kind}", None)
        if visit is not None:
            yield from visit(node, where)
        if kind == "RevertStatement":
            return  # what an error says beyond its name undoes nothing and moves nothing
        inner = replace(where, checked=False) if kind == "UncheckedBlock" else where
        for child in _children(node):
            yield from self.walk(child, inner)

    def _enter(self, node: Node, kind: str, where: _Where) -> _Where:
        if kind == "ContractDefinition":
            return replace(where, contract=node["name"])
        if kind == "FunctionDefinition":
            end = span(node["body"])[0] if node.get("body") else span(node)[1]
            name = node["name"] or node["kind"]
            return replace(where, function=name, unit=(span(node)[0], end))
        if kind == "ModifierDefinition":
            return replace(where, function=node["name"], unit=span(node))
        if kind == "IfStatement":
            return replace(where, unit=(span(node)[0], span(node["condition"])[1]))
        if kind in ("ForStatement", "WhileStatement"):
            return replace(where, unit=(span(node)[0], span(node["body"])[0]))
        if kind in UNITS:
            return replace(where, unit=span(node))
        return where

    def _edit(self, where: _Where, operator: str, at: tuple[int, int], text: str) -> Edit:
        place = where.place or self._file.rpartition("/")[2].removesuffix(".sol")
        unit = (min(where.unit[0], at[0]), max(where.unit[1], at[1])) if where.unit[0] <= at[0] < where.unit[1] else at
        return Edit(
            file=self._file, place=place, operator=operator, unit=unit, start=at[0], end=at[1], text=text
        )  # fmt: skip

    def _gone(self, where: _Where, operator: str, node: Node) -> Edit:
        """An empty block in place of a statement. Only the step of a loop may be nothing at all."""
        whole = self._with_semicolon(node)
        is_step = (
            whole == span(node) and not node["nodeType"].startswith("Yul") and self._text(whole)[-1:] not in ("}", ";")
        )
        return self._edit(where, operator, whole, "" if is_step else "{}")

    def _with_semicolon(self, node: Node) -> tuple[int, int]:
        """The span of a statement, which solc ends before its semicolon."""
        start, end = span(node)
        after = end + len(self._source[end:]) - len(self._source[end:].lstrip())
        return (start, after + 1) if self._source[after : after + 1] == b";" else (start, end)

    def _text(self, at: tuple[int, int]) -> str:
        return self._source[at[0] : at[1]].decode()

    def _between(self, operator: str, left: Node, right: Node) -> tuple[int, int]:
        """Where an operator stands: somewhere between its operands."""
        start = self._source.index(operator.encode(), span(left)[1], span(right)[0])
        return start, start + len(operator)

    # ------------------------------------------------------------------------------------------- expressions

    def _BinaryOperation(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802 -- named after solc's node
        operator, left, right = node["operator"], node["leftExpression"], node["rightExpression"]
        for name, swaps in SWAPS.items():
            if operator in swaps:
                yield self._edit(where, name, self._between(operator, left, right), swaps[operator])
        if operator in SWAPS["logic"]:
            yield self._edit(where, "operand", span(node), self._text(span(left)))
            yield self._edit(where, "operand", span(node), self._text(span(right)))

    def _Assignment(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        swaps, operator = SWAPS["assignment"], node["operator"]
        if operator in swaps:
            at = self._between(operator, node["leftHandSide"], node["rightHandSide"])
            yield self._edit(where, "assignment", at, swaps[operator])

    def _UnaryOperation(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        operator, inner = node["operator"], self._text(span(node["subExpression"]))
        if operator == "!":
            yield self._edit(where, "negation", span(node), inner)
        elif operator in ("++", "--"):
            other = "--" if operator == "++" else "++"
            yield self._edit(where, "assignment", span(node), other + inner if node["prefix"] else inner + other)

    def _Conditional(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        condition, yes, no = (span(node[key]) for key in ("condition", "trueExpression", "falseExpression"))
        swapped = f"{self._text(condition)} ? {self._text(no)} : {self._text(yes)}"
        yield self._edit(where, "branches", span(node), swapped)

    def _Literal(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        if node["kind"] == "bool":
            yield self._edit(where, "constant", span(node), "false" if node["value"] == "true" else "true")
        elif node["kind"] == "number":
            yield from self._numbers(node, where)

    def _YulLiteral(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        if node["kind"] == "number":
            yield from self._numbers(node, where)

    def _numbers(self, node: Node, where: _Where) -> Iterator[Edit]:
        text = self._text(span(node))
        if not text.replace("_", "").isalnum():
            return  # a unit, or a number with an exponent
        value = int(text.replace("_", ""), 0)
        yield self._edit(where, "constant", span(node), str(value + 1))
        if value:
            yield self._edit(where, "constant", span(node), str(value - 1))

    def _FunctionCall(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        if node.get("names"):
            return
        arguments: list[Node] = node["arguments"]
        for first, second in pairwise(arguments):
            one, other = self._text(span(first)), self._text(span(second))
            if one != other and first["typeDescriptions"] == second["typeDescriptions"]:
                between = self._text((span(first)[1], span(second)[0]))
                yield self._edit(where, "arguments", (span(first)[0], span(second)[1]), other + between + one)

    def _YulFunctionCall(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        name = node["functionName"]
        if name["name"] in IN_ASSEMBLY:
            yield self._edit(where, "arithmetic", span(name), IN_ASSEMBLY[name["name"]])

    # ------------------------------------------------------------------------------------------- statements

    def _IfStatement(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        yield self._negated(where, node["condition"])
        if not node.get("falseBody"):
            yield self._gone(where, "guard", node)

    def _WhileStatement(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        yield self._negated(where, node["condition"])

    def _negated(self, where: _Where, condition: Node) -> Edit:
        return self._edit(where, "negation", span(condition), f"!({self._text(span(condition))})")

    def _FunctionDefinition(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        for modifier in node["modifiers"]:
            if modifier.get("kind") == "modifierInvocation":
                yield self._edit(where, "modifier", span(modifier), "")

    def _UncheckedBlock(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        start = span(node)[0]
        keyword = (start, start + len("unchecked"))
        yield self._edit(replace(where, unit=(start, span(node)[1])), "unchecked", keyword, "")

    def _ExpressionStatement(self, node: Node, where: _Where) -> Iterator[Edit]:  # noqa: N802
        whole = self._with_semicolon(node)
        if where.checked and whole != span(node) and _calculates(node):
            yield self._edit(where, "unchecked", whole, f"unchecked {{ {self._text(whole)} }}")


def _calculates(node: Node) -> bool:
    """Whether something in it may overflow."""
    if node.get("operator") in ("+", "-", "*", "+=", "-=", "*=", "++", "--"):
        return True
    return any(_calculates(child) for child in _children(node))
