"""What kinds share about texts: how they are read, split into tokens and arranged.

`rows` are labelled texts, `answers` prompts with answers, `documents` texts as bytes, `encoding` token ids. `encoding`
and `answers` import transformers and need the `tasks` extra; the others need nothing.
"""
