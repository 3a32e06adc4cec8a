"""The experiments of the paper, each from a config to its results."""
