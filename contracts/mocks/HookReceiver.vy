# pragma version ~=0.4.3
"""
@title   Hook receiver
@license Apache-2.0
@notice  An account that takes part in bounties and makes a call that was set whenever it is paid: a re-entering
         receiver. Only for tests.
"""

target: address
data: Bytes[2048]
# How many of the calls succeeded, and how many reverted.
succeeded: public(uint256)
refused: public(uint256)


@external
def set_hook(target: address, data: Bytes[2048]):
    """
    @param target The contract to call.
    @param data The calldata.
    """
    self.target = target
    self.data = data


@external
@payable
def act(target: address, data: Bytes[2048]):
    """
    @notice Makes a call from this contract, with the value sent.
    @param target The contract to call.
    @param data The calldata.
    """
    raw_call(target, data, value=msg.value)


@external
@payable
def __default__():
    """
    @notice Makes the call that was set whenever the contract is paid.
    """
    if self.target != empty(address):
        if raw_call(self.target, self.data, revert_on_failure=False):
            self.succeeded += 1
        else:
            self.refused += 1
