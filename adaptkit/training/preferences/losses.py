"""The losses by the names of `--loss_type`, each with the trainer of TRL that has it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.training.preferences.trainer import PreferenceTrainer


@dataclass(frozen=True)
class Loss:
    """A loss of TRL: the class in `engines` that trains with it, and TRL's settings of it."""

    engine: str
    settings: dict[str, Any] = field(default_factory=dict)

    def trainer(self) -> type[PreferenceTrainer]:
        """The class that trains with it.

        Raises:
            AdaptkitError: TRL is not installed.
        """
        try:
            from adaptkit.training.preferences import engines
        except ModuleNotFoundError as problem:
            if problem.name != "trl":
                raise
            raise AdaptkitError("prefer needs TRL: pip install 'adaptkit[prefer]'") from None
        return getattr(engines, self.engine)


# What ORPO's and CPO's trainers would cut texts to, which they do not get.
_UNCUT = {"max_length": sys.maxsize}

LOSSES = {
    "dpo": Loss("DPO", {"loss_type": ["sigmoid"]}),  # Rafailov et al. 2023
    "ipo": Loss("DPO", {"loss_type": ["ipo"]}),  # Azar et al. 2023
    "hinge": Loss("DPO", {"loss_type": ["hinge"]}),  # Zhao et al. 2023
    "robust": Loss("DPO", {"loss_type": ["robust"], "label_smoothing": 0.1}),  # Chowdhury 2024
    "apo_zero": Loss("DPO", {"loss_type": ["apo_zero"]}),  # D'Oosterlinck et al. 2024
    "kto": Loss(
        "KTO", {"train_sampling_strategy": "sequential"}
    ),  # Ethayarajh et al. 2024; each pair is two answers, judged apart
    # without a reference:
    "orpo": Loss("ORPO", _UNCUT),  # Hong et al. 2024
    "cpo": Loss("CPO", _UNCUT),  # Xu et al. 2024
    "simpo": Loss("CPO", {"loss_type": "simpo", "cpo_alpha": 0.0, **_UNCUT}),  # Meng et al. 2024
}
