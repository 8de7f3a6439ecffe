"""Files addressed by their digest: hashing, tensor files, sealing, storing, fetching and serving them."""
