# pragma version ~=0.4.3
"""
@title   Words
@license Apache-2.0
@notice  Bit masks, and the packing that several modules share.
"""

LOW_4: constant(uint256) = 2**4 - 1
LOW_8: constant(uint256) = 2**8 - 1
LOW_32: constant(uint256) = 2**32 - 1
LOW_48: constant(uint256) = 2**48 - 1
LOW_64: constant(uint256) = 2**64 - 1
LOW_80: constant(uint256) = 2**80 - 1
LOW_96: constant(uint256) = 2**96 - 1
LOW_120: constant(uint256) = 2**120 - 1
LOW_128: constant(uint256) = 2**128 - 1
LOW_160: constant(uint256) = 2**160 - 1


@internal
@pure
def _count(bitmap: uint256) -> uint256:
    """
    @return How many of the 64 lowest bits are set.
    """
    count: uint256 = 0
    for i: uint256 in range(64):
        count += (bitmap >> i) & 1
    return count


@internal
@pure
def _pack_bars(threshold: int128, baseline: int128) -> uint256:
    """
    @return The word that holds two score limits, each in two's complement: the threshold in its low 128 bits and the
            baseline in its high 128 bits.
    """
    low: uint256 = convert(convert(threshold, bytes32), uint256) & LOW_128
    return low | (convert(convert(baseline, bytes32), uint256) << 128)


@internal
@pure
def _low_bar(bars: uint256) -> int128:
    """
    @return The threshold in a word that `_pack_bars` packed.
    """
    return self._signed(bars & LOW_128)


@internal
@pure
def _high_bar(bars: uint256) -> int128:
    """
    @return The baseline in a word that `_pack_bars` packed.
    """
    return self._signed(bars >> 128)


@internal
@pure
def _signed(word: uint256) -> int128:
    """
    @return The signed number whose two's complement is in the low 128 bits of a word.
    """
    return convert(convert(word ^ 2**127, int256) - 2**127, int128)
