"""Task kinds: one folder each, with the same few files. A kind never imports another."""
