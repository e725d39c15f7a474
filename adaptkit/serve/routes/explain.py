"""`/v1/explain`: which words the answer of a classifier rests on, by leaving each one out."""

from __future__ import annotations

import math
import re
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from adaptkit.errors import quoted, unknown
from adaptkit.host.answers import Labels
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.requests import current
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.labels import all_labels
from adaptkit.serve.service import Service, gives_labels
from adaptkit.tasks.classify import Classify

# A word, or one sign of a script that has no blanks between words.
WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
# Of a probability. Of several labels a text, each stands alone, and its answer is near 1 to six
# digits; of one label, the probabilities of the others add up to what speaks against it.
SMALLEST, SMALLEST_OF_SEVERAL = 1e-30, 1e-6


class ExplainRequest(BaseModel):
    """label: the one to explain; by default the answer."""

    model_config = ConfigDict(extra="forbid")
    model: str
    input: str
    label: str | None = None


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["labels"], dependencies=[Depends(keys.user)])

    @router.post("/v1/explain")
    async def explain(request: ExplainRequest) -> Json:
        """The words of a text with what each adds to the logit of a label.

        By occlusion (Zeiler and Fergus 2014, arXiv:1311.2901), where a word is left out instead of
        covered: it needs nothing but answers.
        """
        info = await service.find_for(request.model, gives_labels, "give labels")
        assert isinstance(info.task, Classify)
        if info.inputs != ["text"]:
            raise RequestError(400, f"{quoted(info.name)} reads {' and '.join(info.inputs)}.")
        service.check_length(request.input, "the text")
        words = [match.span() for match in WORD.finditer(request.input)]
        most = service.settings.max_client_batch_size - 1
        if len(words) > most:
            raise RequestError(413, f"the text has {len(words)} words; at most {most}.", "input")
        texts = [request.input[:start] + request.input[end:] for start, end in words]
        kept = [i for i, text in enumerate(texts) if text.strip()]
        current().logged = False  # nobody has written these texts
        whole, *without = await all_labels(
            service, info, [request.input, *(texts[i] for i in kept)]
        )
        label = request.label if request.label is not None else whole.labels[0]
        if label not in whole.scores:
            raise RequestError(400, str(unknown("label", label, list(whole.scores))), "label")
        shares, several = [0.0] * len(words), info.task.multi_label
        for i, answer in zip(kept, without, strict=True):
            shares[i] = _logit(whole, label, several) - _logit(answer, label, several)
        return Json(
            {
                "model": info.name,
                "label": label,
                "score": whole.scores[label],
                "text": request.input,
                "words": [_word(request.input, *pair) for pair in zip(words, shares, strict=True)],
            }
        )

    return router


def _word(text: str, span: tuple[int, int], share: float) -> dict[str, Any]:
    start, end = span
    return {"text": text[start:end], "start": start, "end": end, "share": round(share, 6)}


def _logit(answer: Labels, label: str, several: bool) -> float:
    share = answer.scores[label]
    others = (one for name, one in answer.scores.items() if name != label)
    against = 1 - share if several else math.fsum(others)
    least = SMALLEST_OF_SEVERAL if several else SMALLEST
    return math.log(max(share, least) / max(against, least))
