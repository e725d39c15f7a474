"""An object in the place of a module's `forward`, and the way back."""

from __future__ import annotations

import functools
from typing import Any


class ForwardWrapper:
    """Stands in for the `forward` of one module, or of a pipeline.

    It is an object that holds a bound method, not a function around one: `copy.deepcopy`, which
    averages of weights use, then binds it to the copy. Subclasses define `__call__`.
    """

    def __init__(self, module: Any):
        me: Any = self
        self.own = vars(module).get("forward")  # accelerate's, perhaps
        self.forward = module.forward
        functools.update_wrapper(me, module.forward)

    def place(self, module: Any) -> None:
        """From now on the module's forward is this object."""
        module.forward = self

    def restore(self, module: Any) -> None:
        """Give the module its own `forward` back."""
        del module.forward
        if self.own is not None:
            module.forward = self.own
