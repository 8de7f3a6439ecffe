# pragma version ~=0.4.3
"""
@title   Payments
@license Apache-2.0
@notice  Pull payments in the native coin and in ERC-20 tokens. Everything that a contract owes becomes a credit, and
         only `withdraw` pays out, so a receiver that reverts or re-enters can harm nobody but itself.
@dev     The zero address stands for the native coin. Burned amounts stay in the contract permanently and are only
         counted.
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
    @notice Increases what the contract owes to `account` by `amount`.
    """
    if amount != 0:
        self.credit[asset][account] += amount


@internal
def _burn(asset: address, amount: uint256):
    """
    @notice Counts `amount` as burned; it stays in the contract and can never be withdrawn.
    """
    if amount != 0:
        self.burned[asset] += amount


@internal
def _pull(token: address, amount: uint256) -> uint256:
    """
    @notice Transfers `amount` of an ERC-20 token from the caller. Reverts with `token: transfer failed`.
    @return The amount that was received, which is less than `amount` for a token that charges a fee on transfers.
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
    @notice Pays everything that the caller is owed in `asset` to `to`.
            Reverts with `withdraw: nothing owed`, `withdraw: no receiver`, `token: transfer failed`.
    @param asset The token, or the zero address for the native coin.
    @param to The account that receives the payment.
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
