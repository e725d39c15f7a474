"""A script that starts all the processes it was asked for, and says which it is: `started.py OUT`.

With a second word, the machine has a GPU.
"""

import os
import sys
from pathlib import Path

from adaptkit.errors import AdaptkitError
from adaptkit.utils.processes import start_all_processes

if sys.argv[2:]:
    import torch

    torch.accelerator.is_available = lambda: True
try:
    start_all_processes()
except AdaptkitError as problem:
    sys.exit(f"refused: {problem}")
rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
Path(sys.argv[1], rank).write_text(f"{size} {os.environ['ACCELERATE_USE_CPU']}")
