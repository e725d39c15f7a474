"""SQuAD's JSON: questions on the paragraphs of articles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.parse_json import parse_json
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading


def looks_like_squad(file: File) -> bool:
    """True if a JSON file holds paragraphs with questions."""
    raw = file.raw
    if not raw[:100].lstrip(b"\xef\xbb\xbf \r\n").startswith((b"{", b"[")):
        return False
    return b'"paragraphs"' in raw[:4096] and (b'"data"' in raw or b'"qas"' in raw)


def read_squad(file: File, reading: Reading) -> Table:
    """Rows of `id`, `question`, `context`, `answers` and `article`.

    `answers`: [{"text", "start"}], empty for unanswerable questions; missing where the file has
        none. `start` is None where it does not say the place.
    """
    content = parse_json(file.text, str(file))
    rows, lines = [], []
    try:
        articles = content["data"] if isinstance(content, dict) else content
        for number, article in enumerate(articles):
            title = str(article.get("title") or f"article {number}")
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    row = {
                        "id": str(question["id"]),
                        "question": question["question"],
                        "context": paragraph["context"],
                    }
                    rows.append(row | _answers(question) | {"article": title})
                    lines.append(str(question["id"]))
    except (KeyError, TypeError, AttributeError) as problem:
        after = f" after question {lines[-1]}" if lines else ""
        raise AdaptkitError(
            f"{file}: not as SQuAD writes it{after}: {type(problem).__name__} "
            f"{quoted(str(problem))}"
        ) from None
    return Table(rows, str(file), lines)


def _answers(question: dict[str, Any]) -> dict[str, Any]:
    if question.get("is_impossible"):
        return {"answers": []}
    if question.get("answers") is None:
        return {}
    return {
        "answers": [
            {"text": answer["text"], "start": answer.get("answer_start", -1)}
            for answer in question["answers"]
        ]
    }
