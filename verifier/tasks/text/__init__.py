"""What kinds share about texts: data sets of labelled rows (`rows`), and their token ids (`encoding`).

`encoding` imports transformers and needs the `tasks` extra; `rows` needs nothing.
"""
