"""`make demo`: a whole bounty on a local chain, by the commands that sponsor, solvers and operators would type.

`shell` shows and runs commands and leaves no process behind, `setup` makes the place and the people, `parties` is what
sponsor and solvers do, `market` watches the chain meanwhile, `report` says who was paid what.
"""
