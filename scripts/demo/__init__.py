"""`make demo`: a whole bounty on a local chain, run with the commands that a sponsor, solvers and operators would type.

`shell` shows and runs commands and ends every process that it started; `setup` prepares the folder, the wallets, the
chain and the services; `plays` says what is played for each kind of task; `parties` holds the steps of the sponsor and
the solvers; `market` reads the contracts, and `follow` waits for their state to change; `report` summarises who was
paid what.
"""
