"""Transfer learning: mix weights, rank sources, train many tasks at once, measure forgetting."""
