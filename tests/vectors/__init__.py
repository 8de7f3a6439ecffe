"""How the literal vectors of verifier/exact/vectors are made: with Python's integers alone, not with the package."""
