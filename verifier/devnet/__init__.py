"""A local chain over HTTP that needs nothing but pip: for the demo, trying things out and tests; never for value."""
