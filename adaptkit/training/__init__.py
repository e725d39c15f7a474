"""Train an adapter, and what makes that fast."""
