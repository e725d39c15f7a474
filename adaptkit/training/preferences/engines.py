"""TRL's trainers, each combined with ours. Their rows come as tokens and are not read again."""

from __future__ import annotations

from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from adaptkit.training.preferences.rows import for_cpo, for_dpo, for_kto
from adaptkit.training.preferences.trainer import PreferenceTrainer


class DPO(PreferenceTrainer, DPOTrainer):
    """Direct preference optimization, and losses of its kind."""

    config, rows = DPOConfig, staticmethod(for_dpo)


class KTO(PreferenceTrainer, KTOTrainer):
    """Answers judged one by one."""

    config, rows = KTOConfig, staticmethod(for_kto)


class ORPO(PreferenceTrainer, ORPOTrainer):
    """The chosen answer's likelihood, and the odds of both."""

    config, rows = ORPOConfig, staticmethod(for_cpo)


class CPO(PreferenceTrainer, CPOTrainer):
    """Contrastive preference optimization, and SimPO."""

    config, rows = CPOConfig, staticmethod(for_cpo)
