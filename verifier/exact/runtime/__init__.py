"""Run exact programs on onnxruntime: the fast path, which must agree with the reference interpreter bit for bit.

Start with `engine`. `emission` writes the graph that it runs, with the help of `column_scales` and `writer`.
`byte_products` and `byte_emission` compute products in bytes; `convolution_digits`, `convolution_kernels` and
`convolution_emission` compute depthwise convolutions in float32. `session` pins onnxruntime's options; `self_test`
examines a machine.
"""
