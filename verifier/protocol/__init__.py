"""The meaning of the contracts as pure data and functions: no I/O, no web3.

constants    the enumerations and limits that contracts and Python share
commitments  the ids, commitments and digests that the contracts compute
views        the contracts' structs as value objects
history      the tasks and seats as the contracts' events describe them
state        one task at one block, and its deadlines
obligations  which party owes which step, until when
"""
