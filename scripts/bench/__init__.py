"""Benchmarks: the same model as an exact program and as float32, in one run."""
