"""ONNX's own tests of its operators, each lowered to an exact program and compared with the expected outputs."""
