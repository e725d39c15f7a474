"""Training by preferences: TRL's trainers over rows, tokens and adapters of ours."""
