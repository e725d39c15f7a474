"""A pooling classifier as a folder for tools without adaptkit.

No class of transformers computes it, and the class that reads the rest of its weights would answer
with a random head. So config.json names a model type of its own, which transformers refuses unless
`trust_remote_code=True` lets it take the classes from the file beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptkit.utils.json_files import read_json, write_json

MODEL_TYPE = "adaptkit_pooled"
CODE = "modeling_adaptkit_pooled.py"

TEXT = '''"""A text classifier that pools the states of all tokens; written by adaptkit."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import {config}
from transformers.modeling_outputs import SequenceClassifierOutput
from {module} import {network}, {family}

{parts}

class PooledConfig({config}):
    model_type = "{model_type}"


class PooledForSequenceClassification(PooledClassifier, {family}):
    config_class = PooledConfig
    network = {network}
'''


def write_code(folder: Path, network: Any, family: Any, parts: Sequence[Any]) -> None:
    """Make a saved pooling classifier loadable without adaptkit.

    Args:
        folder: as transformers has saved it.
        network: the class of its bare model, and `family`, that of its `PreTrainedModel`.
        parts: the functions and classes that compute it, `PooledClassifier` among them.
    """
    source = "\n\n".join(inspect.getsource(part) for part in parts)
    code = TEXT.format(
        config=network.config_class.__name__,
        module=network.__module__,
        network=network.__name__,
        family=family.__name__,
        model_type=MODEL_TYPE,
        parts=source,
    )
    (folder / CODE).write_text(code, "utf-8")
    config = read_json(folder / "config.json")
    module = CODE.removesuffix(".py")
    config["auto_map"] = {
        "AutoConfig": f"{module}.PooledConfig",
        "AutoModelForSequenceClassification": f"{module}.PooledForSequenceClassification",
    }
    config |= {"pooled_model_type": config["model_type"], "model_type": MODEL_TYPE}
    write_json(folder / "config.json", config)


def family_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a written pooling classifier as that of its architecture."""
    config = {name: value for name, value in config.items() if name != "auto_map"}
    return config | {"model_type": config.pop("pooled_model_type")}
