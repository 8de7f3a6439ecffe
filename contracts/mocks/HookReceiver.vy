# pragma version ~=0.4.3
"""
@title   Hook receiver
@license Apache-2.0
@notice  An account that takes part in bounties and, whenever it is paid, calls whom it was told to: the re-entering
         receiver. Only for tests.
"""

target: address
data: Bytes[2048]
# How many of the calls went through, and how many were refused.
succeeded: public(uint256)
refused: public(uint256)


@external
def set_hook(target: address, data: Bytes[2048]):
    self.target = target
    self.data = data


@external
@payable
def act(target: address, data: Bytes[2048]):
    """
    @notice Makes a call in this contract's name, with the value sent.
    """
    raw_call(target, data, value=msg.value)


@external
@payable
def __default__():
    if self.target != empty(address):
        if raw_call(self.target, self.data, revert_on_failure=False):
            self.succeeded += 1
        else:
            self.refused += 1
