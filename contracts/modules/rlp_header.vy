# pragma version ~=0.4.3
"""
@title   RLP header
@license Apache-2.0
@notice  Reads one field of an RLP-encoded block header.
@dev     RLP writes a short string's length as 128 + length, a longer one's as 183 + bytes of the length; a long list's as
         247 + bytes of the length. A caller compares the header's hash with `blockhash` first, so the bytes are a real header; the checks
         here keep a wrong answer from coming out of anything else.
"""

MAX_HEADER: constant(uint256) = 1024
# Position of mixHash, which holds prevRandao since the merge.
PREV_RANDAO: constant(uint256) = 13


@internal
@pure
def _prev_randao(header: Bytes[MAX_HEADER]) -> bytes32:
    """
    @notice The 32 bytes of item 13 of the header's list. Reverts with `header: malformed`.
    """
    first: uint256 = self._byte(header, 0)
    # A header is longer than 55 bytes, so its list prefix says in how many bytes the length is written.
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
    assert position < len(header), "header: malformed"
    return convert(slice(header, position, 1), uint256)


@internal
@pure
def _length(header: Bytes[MAX_HEADER], position: uint256, width: uint256) -> uint256:
    """
    @notice A big-endian length of one or two bytes.
    """
    if width == 1:
        return self._byte(header, position)
    return self._byte(header, position) * 256 + self._byte(header, position + 1)
