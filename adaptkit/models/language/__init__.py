"""Language models: their head over the tokens that a loss reads."""
