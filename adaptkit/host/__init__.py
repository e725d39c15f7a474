"""Many adapters over one frozen base: every row of a batch with its own."""
