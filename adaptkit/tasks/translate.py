"""Translation between two languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import unknown
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.flags import flag
from adaptkit.tasks.registry import register_task
from adaptkit.tasks.rewrite import Rewrite


@register_task
@dataclass(frozen=True)
class Translate(Rewrite):
    """A text in another language.

    source_lang, target_lang: codes; multilingual models (mBART, NLLB, M2M100) need their own, such
        as
    en_XX or zho_Hans.
    """

    source_lang: str | None = flag(
        None, "code of the source language, and the extension of its file"
    )
    target_lang: str | None = flag(
        None, "code of the target language, and the extension of its file"
    )

    name = "translate"

    @property
    def request(self) -> str:  # type: ignore[override]
        sides = (("from", self.source_lang), ("to", self.target_lang))
        where = "".join(f" {word} {language}" for word, language in sides if language)
        return f"Translate the following text{where}.\n\n"

    parts = {"source": "source", "target": "target"}
    label_parts = ("target",)
    embedded = {"source": "text", "target": "chinese"}
    not_flags = ("min_target_length", "no_repeat_ngram_size")
    column_helps = {
        "source": "column of the text (default: source)",
        "target": "column of its translation (default: target)",
    }
    reported = ("bleu", "chrf", "perplexity", "base_perplexity", "copy_baseline_chrf")

    def read(self, table: Table, labelled: bool = True) -> Table:
        """Also accepts rows of {"translation": {"en": ..., "de": ...}}."""
        one, two = self.source_lang, self.target_lang
        if isinstance(table.rows[0].get("translation"), dict) and one and two:
            pairs = [row.get("translation") or {} for row in table.rows]
            names = {part: self.column(part) or part for part in ("source", "target")}
            table = table.with_rows(
                [{names["source"]: pair.get(one), names["target"]: pair.get(two)} for pair in pairs]
            )
        return super().read(table, labelled)

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        self._set_languages(tokenizer)
        return super().features(table, tokenizer, max_length, labelled, train)

    def prompts(self, model, table: Table, tokenizer, max_length: int) -> list[list[int]]:
        self._set_languages(tokenizer)
        return super().prompts(model, table, tokenizer, max_length)

    def generation(self, tokenizer: Any, model: Any) -> dict[str, Any]:
        """Make multilingual models generate in the target language.

        Its token is forced first if labels begin with it, or starts the decoder if labels end with
        it (mBART before mBART-50).
        """
        self._set_languages(tokenizer)
        chosen = super().generation(tokenizer, model)
        if not (self.target_lang and hasattr(tokenizer, "tgt_lang")):
            return chosen
        language = _language_id(tokenizer, self.target_lang)
        if tokenizer(text_target="a")["input_ids"][-1] == language:
            return chosen | {"decoder_start_token_id": language, "forced_bos_token_id": None}
        return chosen | {"forced_bos_token_id": language}

    def _set_languages(self, tokenizer: Any) -> None:
        for name, language in (("src_lang", self.source_lang), ("tgt_lang", self.target_lang)):
            if language and hasattr(tokenizer, name):
                _language_id(tokenizer, language)
                setattr(tokenizer, name, language)

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.generation import bleu_chrf_rows

        code = (self.target_lang or "").replace("-", "_").split("_")[0].lower()
        language = {"zho": "zh", "jpn": "ja"}.get(code, code) or None
        return bleu_chrf_rows(
            [answer["text"] for answer in answers],
            [row["references"] for row in table.rows],
            language,
        )

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """chrF of copying the source."""
        return {
            "copy_baseline_chrf": self.score(
                [{"text": row["source"]} for row in table.rows], table
            )["chrf"]
        }


def _language_id(tokenizer: Any, code: str) -> int:
    """The token id of a language.

    Raises:
        AdaptkitError: the tokenizer has no such language (with the closest name).
    """
    if hasattr(tokenizer, "get_lang_id"):  # M2M100's codes differ from its tokens
        tokens = tokenizer.lang_code_to_token
    else:
        tokens = {token: token for token in tokenizer.get_added_vocab() if "_" in token}
    if code not in tokens:
        raise unknown("language of this model", code, tokens)
    return tokenizer.convert_tokens_to_ids(tokens[code])
