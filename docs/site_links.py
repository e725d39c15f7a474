"""A hook of mkdocs: links from the documentation to other files of the project.

Pages link to files outside of `docs/` by their path, so that the links work where the files lie.
The site has a page for each file that is linked: Markdown as it is, code in a listing.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each linked file outside of `docs/`."""
    sources = {ROOT / "docs" / file.src_uri for file in files.documentation_pages()}
    waiting, seen = sorted(sources), set(sources)
    while waiting:
        source = waiting.pop()
        for target, _ in LINK.findall(source.read_text("utf-8")):
            linked = (source.parent / target).resolve()
            if linked in seen or not _outside(linked):
                continue
            seen.add(linked)
            text = linked.read_text("utf-8")
            if linked.suffix == ".md":
                waiting.append(linked)
            else:
                text = f"# `{linked.relative_to(ROOT)}`\n\n````python\n{text}````\n"
            files.append(File.generated(config, _page_of(linked), content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links at the pages of the site."""
    uri = page.file.src_uri
    inside = (ROOT / "docs" / uri).is_file()
    source = ROOT / "docs" / uri if inside else ROOT / uri

    def replace(match: re.Match[str]) -> str:
        linked = (source.parent / match[1]).resolve()
        if not linked.is_relative_to(ROOT):
            return match[0]
        docs = ROOT / "docs"
        target = _page_of(linked) if _outside(linked) else str(linked.relative_to(docs))
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{match[2] or ''})"

    listing = not inside and not uri.endswith("RESULTS.md") and source.suffix != ".md"
    return markdown if listing or uri.endswith(".py.md") else LINK.sub(replace, markdown)


def _outside(file: Path) -> bool:
    """Whether a file is the project's, but not below `docs/`."""
    return file.is_file() and file.is_relative_to(ROOT) and (ROOT / "docs") not in file.parents


def _page_of(file: Path) -> str:
    name = str(file.relative_to(ROOT))
    return name if name.endswith(".md") else f"{name}.md"
