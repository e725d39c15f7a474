"""Settings that PEFT wrote, or anyone else."""
