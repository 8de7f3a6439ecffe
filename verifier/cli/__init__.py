"""The `touchstone` command line: thin commands over the other parts of the package."""
