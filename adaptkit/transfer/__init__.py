"""Knowledge from elsewhere: mixing weights, ranking sources, many tasks at once, forgetting."""
