"""What the contracts mean, as pure data and functions: no I/O."""
