"""Kind `language`: LoRA adapters of a decoder, scored by the log-likelihood of answers to prompts."""
