"""`python -m verifier` is `touchstone`."""

from verifier.cli.main import main

main()
