"""What kinds share about models: loading them, LoRA adapters on them, exporting them, and reading adapters from files.

`adapter_files` and `grids` need NumPy and safetensors alone, because `touchstone pack` uses them; the other modules
import torch and need the `tasks` extra.
"""
