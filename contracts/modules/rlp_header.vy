# pragma version ~=0.4.3
"""
@title   RLP header
@license Apache-2.0
@notice  Reads one field of an RLP-encoded block header.
@dev     RLP encodes the length of a short string as 128 + length, of a longer string as 183 + number of length bytes,
         and of a long list as 247 + number of length bytes. Callers first compare the header's hash with `blockhash`,
         so the bytes are those of a real header; the checks here ensure that any other bytes revert instead of giving a
         wrong value.
"""

MAX_HEADER: constant(uint256) = 1024
# Index of the field mixHash, which has held prevRandao since the Merge.
PREV_RANDAO: constant(uint256) = 13


@internal
@pure
def _prev_randao(header: Bytes[MAX_HEADER]) -> bytes32:
    """
    @notice Reads the 32 bytes of item 13 of the header's list. Reverts with `header: malformed`.
    """
    first: uint256 = self._byte(header, 0)
    # A header is longer than 55 bytes, so its list prefix gives the number of bytes that hold the length.
    assert first > 247 and first <= 249, "header: malformed"
    start: uint256 = first - 246
    assert self._length(header, 1, first - 247) + start == len(header), "header: malformed"
    for i: uint256 in range(PREV_RANDAO):
        prefix: uint256 = self._byte(header, start)
        if prefix < 128:
            start += 1
        elif prefix <= 183:
            start += prefix - 127
        else:
            assert prefix <= 185, "header: malformed"
            start += 1 + (prefix - 183) + self._length(header, start + 1, prefix - 183)
    assert self._byte(header, start) == 160 and start + 33 <= len(header), "header: malformed"
    return convert(slice(header, start + 1, 32), bytes32)


@internal
@pure
def _byte(header: Bytes[MAX_HEADER], position: uint256) -> uint256:
    """
    @return The byte at a position. Reverts with `header: malformed` at or after the end.
    """
    assert position < len(header), "header: malformed"
    return convert(slice(header, position, 1), uint256)


@internal
@pure
def _length(header: Bytes[MAX_HEADER], position: uint256, width: uint256) -> uint256:
    """
    @return The big-endian length that is written in one or two bytes at a position.
    """
    if width == 1:
        return self._byte(header, position)
    return self._byte(header, position) * 256 + self._byte(header, position + 1)
