"""Files that are addressed by their digest: hashing, tensor files, sealing, storing, fetching, serving, evidence."""
