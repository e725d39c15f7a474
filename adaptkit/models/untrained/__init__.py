"""Models that are made here: from nothing, of the first layers of another, or small networks."""
