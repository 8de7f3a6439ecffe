# pragma version ~=0.4.3
"""
@title   Ledger
@license Apache-2.0
@notice  Balances and allowances that the test tokens share. Deployed only in tests.
"""

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@external
def mint(account: address, amount: uint256):
    """
    @param account The account that receives the tokens.
    @param amount The amount.
    """
    self.balanceOf[account] += amount


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @param spender The account that may spend the caller's tokens.
    @param amount The allowance.
    @return True.
    """
    self.allowance[msg.sender][spender] = amount
    return True


@internal
def _spend(owner: address, amount: uint256):
    """
    @notice Takes `amount` from the caller's allowance.
    """
    self.allowance[owner][msg.sender] -= amount


@internal
def _move(owner: address, to: address, amount: uint256, arrives: uint256):
    """
    @notice Takes `amount` from `owner` and gives `arrives` to `to`.
    """
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += arrives
