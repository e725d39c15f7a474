"""Adapters as transformers pipelines; tasks without a transformers pipeline get `TaskPipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import Pipeline

from adaptkit.data.conversations.rendering import check_limits, template_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import bare_model
from adaptkit.models.forward_wrapper import ForwardWrapper
from adaptkit.tasks.chat import Chat
from adaptkit.utils.cudnn import disable_cudnn_sdpa

transformers_pipeline: Any = transformers.pipeline  # its overloads accept literal names only

# The key of the text in an answer, as in transformers' pipelines of that kind.
_TEXT_KEYS = {"answer": "answer", "translate": "translation_text", "summarize": "summary_text"}


def pipeline(folder: str | Path, **base_options: Any) -> Pipeline:
    """A transformers pipeline for an adapter, with its labels, tokenizer and training length.

    classify: text-classification (all labels with `top_k=None`). tag: token-classification, with
    words grouped into entities and long texts read in windows. chat: text-generation, also for
    messages; the training's system message is added if they have none. pretrain: fill-mask or
    text-generation. score, relate, answer, translate, summarize and embed, and tag where the
    tokenizer is written in Python: `TaskPipeline`.

    Args:
        folder: an adapter from a recipe.
        base_options: for `load_base`: quantize, dtype, device_map, ...

    Raises:
        AdaptkitError: the folder holds no adapter, or one without a task.
    """
    made = _pipeline(Predictor(folder, **base_options))
    WithoutCudnn(made).place(made)
    return made


class WithoutCudnn(ForwardWrapper):
    """A pipeline's forward that leaves cuDNN out of attention."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with disable_cudnn_sdpa():
            return self.forward(*args, **kwargs)


def _pipeline(predictor: Predictor) -> Any:
    task: Any = predictor.task  # settings of the task are read below
    tokenizer, length = predictor.tokenizer, predictor.max_length
    model = bare_model(predictor.model)
    shared: dict[str, Any] = {"model": model, "tokenizer": tokenizer}
    if task.name == "classify":
        cut = {"truncation": True, "max_length": length}
        if task.multi_label:
            model.config.problem_type = "multi_label_classification"
        return transformers_pipeline("text-classification", **shared, **cut)
    if task.name == "tag" and tokenizer.is_fast:  # transformers' own needs offsets
        tokenizer.model_max_length = length
        return transformers_pipeline(
            "token-classification",
            **shared,
            aggregation_strategy="first",
            stride=min(task.doc_stride, length // 2),
        )
    if isinstance(task, Chat):
        check_limits(tokenizer)  # transformers has none
        tokenizer.chat_template = template_of(tokenizer, task.system)
        return transformers_pipeline(
            "text-generation", **shared, **task.generation(tokenizer, predictor.model)
        )
    if task.name == "pretrain":
        return transformers_pipeline(
            "fill-mask" if task.objective == "mlm" else "text-generation", **shared
        )
    return TaskPipeline(predictor)


class TaskPipeline(Pipeline):
    """A pipeline for tasks that have none in transformers.

    Call it with a text, a dict of a row's parts (`{"question": ..., "context": ...}`), or a list of
    these. Each answer is a dict, `{"answer" | "translation_text" | "summary_text" | "label": ...,
    "score": ...}`, or a vector for embeddings.
    """

    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = True

    def __init__(self, predictor: Predictor):
        tokenizer: Any = predictor.tokenizer
        super().__init__(
            model=bare_model(predictor.model),
            tokenizer=tokenizer,
            task=predictor.task.name,
        )
        self.predictor = predictor

    def __call__(self, inputs: Any, *args: Any, batch_size: int = 16, **given: Any) -> Any:
        """Answer a list in batches of similar lengths."""
        self._sanitize_parameters(**given)
        if not isinstance(inputs, list):
            return super().__call__(inputs, *args)
        rows = [row for one in inputs for row in self.preprocess(one)["rows"].rows]
        answers = self.predictor.answer(Table(rows, "input"), batch_size=batch_size) if rows else []
        return [self.postprocess({"answer": answer}) for answer in answers]

    def _sanitize_parameters(self, **given: Any):
        if given:
            raise AdaptkitError(f"this pipeline takes no {', '.join(given)}.")
        return {}, {}, {}

    def preprocess(self, inputs: Any) -> dict[str, Any]:
        task = self.predictor.task
        asked = task.input_fields()
        row = inputs if isinstance(inputs, dict) else {asked[0]: inputs}
        if missing := [part for part in asked if part not in row]:
            raise AdaptkitError(
                f"{task.name} asks for {' and '.join(asked)}; {', '.join(missing)} is missing."
            )
        named = [part for part in task.parts if task.parts[part] is None and part in row]
        parts = dict.fromkeys([*asked, *named])
        return {"rows": Table([{task.column(part) or part: row[part] for part in parts}], "input")}

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"answer": self.predictor.answer(inputs["rows"])[0]}

    def postprocess(self, outputs: dict[str, Any]) -> Any:
        answer, name = outputs["answer"], self.predictor.task.name
        if name == "embed":
            return answer["embedding"]
        if name == "score":
            return {"label": "score", **answer}
        return {
            _TEXT_KEYS.get(name, key) if key == "text" else key: value
            for key, value in answer.items()
        }
