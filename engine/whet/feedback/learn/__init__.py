"""From judgments to a better model: lessons, trials, checks, versions."""
