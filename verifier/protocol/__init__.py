"""The meaning of the contracts as pure data and functions: no I/O, no web3.

constants    the enumerations and limits that contracts and Python share
commitments  the hashes that bind everything said on chain
views        the contracts' structs as value objects
history      the fold over the contracts' events
state        one task at one block, and its deadlines
obligations  which step is due from whom, until when
"""
