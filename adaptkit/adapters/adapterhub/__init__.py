"""Convert adapters of AdapterHub's library, `adapters` (and `adapter-transformers` before it)."""
