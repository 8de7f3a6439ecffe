"""Run exact programs on onnxruntime: the fast path, which must agree with the reference interpreter bit for bit.

Start with `engine`. `emission` writes the graph that it runs, with the help of `column_scales`, `byte_products`,
`byte_emission` and `writer`; `session` pins onnxruntime's options; `self_test` examines a machine.
"""
