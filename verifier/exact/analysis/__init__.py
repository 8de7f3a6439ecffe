"""Compares an exact program with its float model and shows where they differ."""
