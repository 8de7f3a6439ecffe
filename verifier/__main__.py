"""Runs the `touchstone` command as `python -m verifier`."""

from verifier.cli.main import main

main()
