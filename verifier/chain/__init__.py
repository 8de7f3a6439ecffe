"""The chain: one node, the contracts, their events and transactions. The only package that imports web3."""
