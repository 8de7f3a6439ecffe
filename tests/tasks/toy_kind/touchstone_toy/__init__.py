"""A task kind outside Touchstone's package: a submission is the integer weights of a linear scorer."""
