"""A local chain for development and tests: an EVM in memory, served as JSON-RPC over HTTP."""
