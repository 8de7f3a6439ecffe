# pragma version ~=0.4.3
"""
@title   Ledger
@license Apache-2.0
@notice  Balances and allowances that the test tokens share. Not deployed anywhere but in tests.
"""

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@external
def mint(account: address, amount: uint256):
    self.balanceOf[account] += amount


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    return True


@internal
def _spend(owner: address, amount: uint256):
    self.allowance[owner][msg.sender] -= amount


@internal
def _move(owner: address, to: address, amount: uint256, arrives: uint256):
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += arrives
