"""Kind `classify`: LoRA adapters of an encoder's linear layers and a classification head, scored by correct texts."""
