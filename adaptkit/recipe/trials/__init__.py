"""Several trainings of one recipe: a search of settings, folds, seeds."""
