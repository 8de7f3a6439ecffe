"""The literal vectors of verifier/exact/vectors, computed with Python's integers and without the package."""
