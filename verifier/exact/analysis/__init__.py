"""Compare an exact program with the float model that it was lowered from, and show where they differ.

`compare` measures how far apart their outputs are and how long each takes. `inspect` looks at every tensor, with the
names that `layer_map` keeps, and `report` shows both on one page.
"""
