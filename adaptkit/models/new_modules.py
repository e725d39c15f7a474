"""Find the modules of a loaded model that are not in the checkpoint: the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from torch import nn


def new_modules(model: nn.Module, missing: set[str]) -> list[str]:
    """The smallest set of modules that holds exactly the parameters named in `missing`.

    New zero parameters beside pretrained ones (the bias of a tied output map) are left out: they
    stay zero, so there is nothing to save.

    Raises:
        AdaptkitError: a module holds both new and pretrained parameters, or all parameters are new.
    """
    new = {name for name, _ in model.named_parameters(remove_duplicate=False) if name in missing}
    if new and len(new) == len(list(model.named_parameters(remove_duplicate=False))):
        raise AdaptkitError(
            f"the checkpoint holds none of the parameters of {type(model).__name__}: is it the "
            "right folder?"
        )
    found: list[str] = []
    values = dict(model.named_parameters(remove_duplicate=False))

    def visit(path: str, module: nn.Module) -> None:
        names = [
            f"{path}.{name}".lstrip(".")
            for name, _ in module.named_parameters(remove_duplicate=False)
        ]
        inside = [name for name in names if name in new]
        if not inside:
            return
        if path and len(inside) == len(names):
            found.append(path)
            return
        own = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        if partly := [name for name in own if name in new and values[name].any()]:
            raise AdaptkitError(
                f"{', '.join(partly)}: the checkpoint does not hold it, but it holds other "
                "parameters of the same module "
                f"({path or 'the model'}). Such a half-new module cannot be trained and saved as "
                "a head; complete the checkpoint."
            )
        for name, child in module.named_children():
            visit(f"{path}.{name}".lstrip("."), child)

    visit("", model)
    return found


def quantized_maps(model: nn.Module, head: list[str]) -> list[str]:
    """Modules of the new head that were quantized; new weights must stay trainable."""
    return [
        name
        for name, module in model.named_modules()
        if any(name == part or name.startswith(part + ".") for part in head)
        and type(module).__module__.startswith("bitsandbytes")
    ]
