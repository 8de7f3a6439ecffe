"""Task kind `lora`: adapters of an encoder's linear layers and a classification head, judged by accuracy.

`architecture` is the model, `dataset` its texts, `program` the exact evaluation of it, `build` writes a task, and
`pack` makes a submission of an adapter. All but `pack` need the `tasks` extra.
"""
