"""Versions of code: what modules compute with, and nothing else of them."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from apit.provenance import digest

PACKAGE = Path(__file__).parent
UTF_8 = "encoding='utf-8'"  # as all text is


def code_of(files: Iterable[str]) -> str:
    """Version of files of the package, named by their paths in it; modules without `.py`."""
    return digest({name: _version(name) for name in files})


@cache
def _version(name: str) -> str:
    is_module = "." not in name
    text = (PACKAGE / (f"{name}.py" if is_module else name)).read_text(encoding="utf-8")
    return digest(computes(text) if is_module else text)


def computes(text: str) -> str:
    """What a module computes: its syntax, without what changes no result.

    That is documentation, comments and layout; types; what errors, assertions, bars and printed
    lines say; that text is UTF-8; and imports that nothing else needs.
    """
    tree = _Computing().visit(ast.parse(text))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [a for a in node.names if (a.asname or a.name).partition(".")[0] in used]
    return _dumped(tree)


class _Computing(ast.NodeTransformer):
    """Leaves of a syntax tree what computes."""

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise()

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return self.generic_visit(ast.Assert(node.test))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Expr(node.target)
        return self.generic_visit(ast.Assign([node.target], node.value))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        says = isinstance(node.value, ast.Constant) or _calls(node.value, "print")
        return None if says else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _calls(node, "bar"):
            node.keywords = []
        node.keywords = [word for word in node.keywords if ast.unparse(word) != UTF_8]
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_typing else self.generic_visit(node)


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _dumped(node: object) -> str:
    """A tree as text, the same on every Python: `ast.dump` of later ones leaves fields out.

    Imports that have no name left are left out, too.
    """
    if isinstance(node, list):
        return f"[{', '.join(_dumped(one) for one in node if getattr(one, 'names', True))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        f"{name}={_dumped(value)}"
        for name in node._fields
        for value in [getattr(node, name, None)]
        if value is not None or isinstance(node, ast.Constant)
        if name not in ("type_params", "kind", "type_comment")
    ]
    return f"{type(node).__name__}({', '.join(fields)})"
