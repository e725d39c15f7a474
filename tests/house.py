"""Measures the arrangement of the code, and fails where it is not as it should be.

    python tests/house.py

No cycle of files or folders (imports inside functions count, those for type checkers do not), no
folder above 20 modules, no file above 350 lines, no line above 100 columns. Prints the figures.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adaptkit"
MOST_MODULES, MOST_LINES, MOST_COLUMNS = 20, 350, 100
Graph = dict[str, set[str]]


def module_name(file: Path) -> str:
    """`adaptkit/data/tables.py` -> `adaptkit.data.tables`; of a folder, the folder itself."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.Module) -> Iterable[str]:
    """Every module, or name in a module, that is imported outside of `if TYPE_CHECKING`."""
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _walk(node: ast.AST) -> Iterable[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _walk(child)


def import_graph(trees: dict[str, ast.Module]) -> Graph:
    """Module -> the modules of the package that it imports."""
    graph: Graph = {name: set() for name in trees}
    for name, tree in trees.items():
        for full in imports_of(tree):
            found = full if full in trees else full.rpartition(".")[0]
            if found in trees and found != name:
                graph[name].add(found)
    return graph


def by_folder(graph: Graph) -> Graph:
    """The same between the folders of the package; files at its top stand for themselves."""
    folders: Graph = defaultdict(set)
    for name, others in graph.items():
        for other in others:
            one, two = (".".join(full.split(".")[:2]) for full in (name, other))
            if one != two and "." in one and "." in two:
                folders[one].add(two)
    return folders


def cycles(graph: Graph) -> list[list[str]]:
    """The strongly connected parts with more than one member (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(part) > 1:
                found.append(sorted(part))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def function_lengths(trees: Iterable[ast.Module]) -> list[int]:
    """Lines of every function, its decorators left out."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    )


def main() -> int:
    """Print the figures; the number of problems."""
    files = sorted(PACKAGE.rglob("*.py"))
    texts = {file: file.read_text("utf-8") for file in files}
    trees = {module_name(file): ast.parse(text) for file, text in texts.items()}
    graph = import_graph(trees)
    file_cycles, folder_cycles = cycles(graph), cycles(by_folder(graph))
    folders = {
        folder: sum(file.parent == folder for file in files)
        for folder in {file.parent for file in files}
    }
    lines = {file: text.count("\n") for file, text in texts.items()}
    everything = [*files, *sorted((ROOT / "recipes").glob("*.py"))]
    wide = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in everything
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if len(line) > MOST_COLUMNS
    ]
    lengths = function_lengths(trees.values())
    large = [folder for folder, count in folders.items() if count > MOST_MODULES]
    long = [file for file, count in lines.items() if count > MOST_LINES]
    widest_folder, longest_file = (
        max(folders, key=folders.__getitem__),
        max(lines, key=lines.__getitem__),
    )
    print(f"files {len(files)}, lines {sum(lines.values()):,}")
    print(f"cycles of files: {file_cycles or 'none'}")
    print(f"cycles of folders: {folder_cycles or 'none'}")
    print(f"largest folder: {widest_folder.relative_to(ROOT)}, {folders[widest_folder]} modules")
    print(f"longest file: {longest_file.relative_to(ROOT)}, {lines[longest_file]} lines")
    median, ninth = lengths[len(lengths) // 2], lengths[int(0.9 * len(lengths))]
    print(f"functions: {len(lengths):,}, median {median} lines, p90 {ninth}")
    print(f"lines over {MOST_COLUMNS} columns: {len(wide) or 'none'}")
    for problem in (*large, *long, *wide[:20]):
        print(f"  {problem}")
    return len(file_cycles) + len(folder_cycles) + len(large) + len(long) + len(wide)


if __name__ == "__main__":
    sys.exit(min(1, main()))
