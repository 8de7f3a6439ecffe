# pragma version ~=0.4.3
"""
@title   Payments
@license Apache-2.0
@notice  Pull payments in the native coin and ERC-20 tokens. Whatever a contract owes becomes a credit; money leaves by
         `withdraw` alone, so a receiver that reverts or re-enters can hurt nobody but itself.
@dev     The native coin is the zero address. Burned money stays in the contract for ever and is only counted.
"""

from ethereum.ercs import IERC20

NATIVE: constant(address) = empty(address)

event Withdrawn:
    asset: indexed(address)
    account: indexed(address)
    to: address
    amount: uint256

# asset -> account -> amount owed, in the asset's smallest unit
credit: public(HashMap[address, HashMap[address, uint256]])
# asset -> amount that nobody will ever receive
burned: public(HashMap[address, uint256])


@internal
def _credit(asset: address, account: address, amount: uint256):
    """
    @notice Owes `amount` more to `account`.
    """
    if amount != 0:
        self.credit[asset][account] += amount


@internal
def _burn(asset: address, amount: uint256):
    """
    @notice Takes `amount` out of everybody's reach.
    """
    if amount != 0:
        self.burned[asset] += amount


@internal
def _pull(token: address, amount: uint256) -> uint256:
    """
    @notice Takes `amount` of an ERC-20 from the caller.
    @return What really arrived: a token with a fee on transfer brings less than was asked.
    """
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "token: transfer failed"
    return staticcall IERC20(token).balanceOf(self) - before


@external
@nonreentrant
def withdraw(asset: address, to: address) -> uint256:
    """
    @notice Pays everything the caller is owed in `asset` to `to`. Reverts with `withdraw: nothing owed`,
            `withdraw: no receiver`, `token: transfer failed`.
    @param asset The token, or the zero address for the native coin.
    @return The amount paid, in the asset's smallest unit.
    """
    assert to != empty(address), "withdraw: no receiver"
    amount: uint256 = self.credit[asset][msg.sender]
    assert amount != 0, "withdraw: nothing owed"
    self.credit[asset][msg.sender] = 0
    log Withdrawn(asset=asset, account=msg.sender, to=to, amount=amount)
    if asset == NATIVE:
        raw_call(to, b"", value=amount)
    else:
        assert extcall IERC20(asset).transfer(to, amount, default_return_value=True), "token: transfer failed"
    return amount
