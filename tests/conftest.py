"""What all tests share. Everything runs offline; real data are reached through ADAPTKIT_DATA."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch

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
