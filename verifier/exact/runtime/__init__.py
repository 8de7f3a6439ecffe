"""Runs exact programs on onnxruntime: the fast path, held to the reference interpreter by the self-test."""
