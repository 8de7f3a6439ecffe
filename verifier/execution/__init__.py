"""Where an evaluation runs: a sandboxed child process."""
