"""adaptkit: adapt a frozen pretrained Transformer to many tasks with small modules.

The public names, and nothing else. They are loaded when first used, so importing the package costs nothing.
"""

import importlib

__version__ = "0.1.0"

_NAMES = {
    "adaptkit.errors": ("AdaptkitError",),
    "adaptkit.base": ("BaseInfo", "load_base", "load_tokenizer"),
    "adaptkit.tuner": ("AdaptConfig", "adapt"),
    "adaptkit.adapter": ("load_adapter", "save_adapter"),
    "adaptkit.cards": ("TaskCard", "read_card"),
    "adaptkit.methods": ("Bottleneck", "IA3", "LoRA", "Method", "Prefix", "parse", "register"),
    "adaptkit.methods.base": ("Param", "rows"),
    "adaptkit.sites": ("Site", "Stack", "find_sites", "register_architecture"),
    "adaptkit.predict": ("Predictor",),
    "adaptkit.data": ("from_datasets", "load_splits", "read_table"),
    "adaptkit.trainer": ("Extras", "Part"),
    "adaptkit.training": ("fit",),
    "adaptkit.tables": ("Splits", "Table"),
    "adaptkit.readers": ("Reading",),
    "adaptkit.pipelines": ("pipeline",),
    "adaptkit.host": ("Host", "HostBusyError"),
    "adaptkit.fingerprints": ("fingerprint", "same_base"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'adaptkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
