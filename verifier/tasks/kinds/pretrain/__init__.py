"""Kind `pretrain`: all weights of a small language model of bytes, scored by its log-likelihood of unseen text."""
