"""Writing with many adapters: settings, sampling, and batches whose rows come and go."""
