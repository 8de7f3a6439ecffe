"""Touchstone: bounties for model adapters, settled by an evaluation that gives the same bits on every machine."""

__version__ = "0.1.0"
