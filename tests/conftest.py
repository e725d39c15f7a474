"""What all tests share. Everything runs offline; real data are reached through ADAPTKIT_DATA."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hypothesis import HealthCheck, settings

# A machine may be busy: what an input takes is bounded where a test is about that.
settings.register_profile("adaptkit", deadline=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("adaptkit")

# Commands that need what is not installed for tests, or that another process starts.
collect_ignore = ["golden/make_adapterhub.py", "interop/started.py", "trust/guided.py"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data, models and golden tensors."""
    folder = os.environ.get("ADAPTKIT_DATA")
    if not folder:
        pytest.skip(
            "ADAPTKIT_DATA is not set: it names the folder with real data, models and golden "
            "tensors"
        )
    return Path(folder)
