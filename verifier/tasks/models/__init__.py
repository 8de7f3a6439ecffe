"""What kinds share about models: loading them, LoRA adapters on them, exporting them, and reading adapters from files.

The modules that `touchstone pack` uses (`adapter_config`, `adapter_files`, `base_files`, `grids`, `patterns`,
`weight_files`) need NumPy and safetensors alone; the others import torch and need the `tasks` extra.
"""
