"""`python -m verifier` is `touchstone`."""

from verifier.cli import main

main()
