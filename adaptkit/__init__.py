"""adaptkit: adapt a frozen pretrained Transformer to many tasks with small modules.

This module holds the public names. Each is imported on first use, so importing the package is
fast.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptkit.adapters.card import TaskCard as TaskCard
    from adaptkit.adapters.card import read_card as read_card
    from adaptkit.adapters.combine import add_weighted_adapter as add_weighted_adapter
    from adaptkit.adapters.inject import adapt as adapt
    from adaptkit.adapters.low_rank.shrink import shrink as shrink
    from adaptkit.adapters.save_load import load_adapter as load_adapter
    from adaptkit.adapters.save_load import save_adapter as save_adapter
    from adaptkit.adapters.tuner import AdaptConfig as AdaptConfig
    from adaptkit.data.readers.options import Reading as Reading
    from adaptkit.data.sources import from_datasets as from_datasets
    from adaptkit.data.sources import load_splits as load_splits
    from adaptkit.data.sources import read_table as read_table
    from adaptkit.data.splits import Splits as Splits
    from adaptkit.data.tables import Table as Table
    from adaptkit.errors import AdaptkitError as AdaptkitError
    from adaptkit.host.api import Host as Host
    from adaptkit.host.batcher import HostBusyError as HostBusyError
    from adaptkit.host.describe import AdapterInfo as AdapterInfo
    from adaptkit.host.manager import UnknownAdapterError as UnknownAdapterError
    from adaptkit.inference.compare import Comparison as Comparison
    from adaptkit.inference.compare import compare as compare
    from adaptkit.inference.pipeline import pipeline as pipeline
    from adaptkit.inference.predictor import Predictor as Predictor
    from adaptkit.labelling.pool import Proposal as Proposal
    from adaptkit.labelling.pool import propose_rows as propose_rows
    from adaptkit.methods.base import Method as Method
    from adaptkit.methods.base import Param as Param
    from adaptkit.methods.base import rows as rows
    from adaptkit.methods.bias import Bias as Bias
    from adaptkit.methods.bottleneck import Bottleneck as Bottleneck
    from adaptkit.methods.grammar import parse_method as parse_method
    from adaptkit.methods.ia3 import IA3 as IA3
    from adaptkit.methods.lora import LoRA as LoRA
    from adaptkit.methods.miss import MiSS as MiSS
    from adaptkit.methods.prefix import Prefix as Prefix
    from adaptkit.methods.reft import ReFT as ReFT
    from adaptkit.methods.registry import register as register
    from adaptkit.methods.vera import VeRA as VeRA
    from adaptkit.models.architectures import register_architecture as register_architecture
    from adaptkit.models.find_sites import find_sites as find_sites
    from adaptkit.models.fingerprint import fingerprint as fingerprint
    from adaptkit.models.fingerprint import same_base as same_base
    from adaptkit.models.load import BaseInfo as BaseInfo
    from adaptkit.models.load import load_base as load_base
    from adaptkit.models.sites import Site as Site
    from adaptkit.models.sites import Stack as Stack
    from adaptkit.models.tokenizer import load_tokenizer as load_tokenizer
    from adaptkit.recipe.registry import run_recipe as run_recipe
    from adaptkit.tasks.base import Task as Task
    from adaptkit.tasks.flags import flag as flag
    from adaptkit.tasks.registry import register_task as register_task
    from adaptkit.training.defaults import training_arguments as training_arguments
    from adaptkit.training.fit import TrainOutput as TrainOutput
    from adaptkit.training.fit import fit as fit
    from adaptkit.training.options import EncodedSplit as EncodedSplit
    from adaptkit.training.options import TrainerOptions as TrainerOptions

# bitsandbytes warns at import that a faster 4-bit kernel is not installed, even if nothing is
# quantized.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.8.0"

_HOME = {
    "TaskCard": "adaptkit.adapters.card",
    "read_card": "adaptkit.adapters.card",
    "add_weighted_adapter": "adaptkit.adapters.combine",
    "adapt": "adaptkit.adapters.inject",
    "shrink": "adaptkit.adapters.low_rank.shrink",
    "load_adapter": "adaptkit.adapters.save_load",
    "save_adapter": "adaptkit.adapters.save_load",
    "AdaptConfig": "adaptkit.adapters.tuner",
    "Reading": "adaptkit.data.readers.options",
    "from_datasets": "adaptkit.data.sources",
    "load_splits": "adaptkit.data.sources",
    "read_table": "adaptkit.data.sources",
    "Splits": "adaptkit.data.splits",
    "Table": "adaptkit.data.tables",
    "AdaptkitError": "adaptkit.errors",
    "Host": "adaptkit.host.api",
    "HostBusyError": "adaptkit.host.batcher",
    "AdapterInfo": "adaptkit.host.describe",
    "UnknownAdapterError": "adaptkit.host.manager",
    "Comparison": "adaptkit.inference.compare",
    "compare": "adaptkit.inference.compare",
    "pipeline": "adaptkit.inference.pipeline",
    "Predictor": "adaptkit.inference.predictor",
    "Proposal": "adaptkit.labelling.pool",
    "propose_rows": "adaptkit.labelling.pool",
    "Method": "adaptkit.methods.base",
    "Param": "adaptkit.methods.base",
    "rows": "adaptkit.methods.base",
    "Bias": "adaptkit.methods.bias",
    "Bottleneck": "adaptkit.methods.bottleneck",
    "parse_method": "adaptkit.methods.grammar",
    "IA3": "adaptkit.methods.ia3",
    "LoRA": "adaptkit.methods.lora",
    "MiSS": "adaptkit.methods.miss",
    "Prefix": "adaptkit.methods.prefix",
    "ReFT": "adaptkit.methods.reft",
    "register": "adaptkit.methods.registry",
    "VeRA": "adaptkit.methods.vera",
    "register_architecture": "adaptkit.models.architectures",
    "find_sites": "adaptkit.models.find_sites",
    "fingerprint": "adaptkit.models.fingerprint",
    "same_base": "adaptkit.models.fingerprint",
    "BaseInfo": "adaptkit.models.load",
    "load_base": "adaptkit.models.load",
    "Site": "adaptkit.models.sites",
    "Stack": "adaptkit.models.sites",
    "load_tokenizer": "adaptkit.models.tokenizer",
    "run_recipe": "adaptkit.recipe.registry",
    "Task": "adaptkit.tasks.base",
    "flag": "adaptkit.tasks.flags",
    "register_task": "adaptkit.tasks.registry",
    "training_arguments": "adaptkit.training.defaults",
    "TrainOutput": "adaptkit.training.fit",
    "fit": "adaptkit.training.fit",
    "EncodedSplit": "adaptkit.training.options",
    "TrainerOptions": "adaptkit.training.options",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'adaptkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
