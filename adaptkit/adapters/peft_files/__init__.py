"""Read `adapter_config.json`, which may come from anyone: its types, its patterns, its tensors."""
