"""The task kinds of this package: one folder per kind, with the same files.

`kind.py` states the kind (a `verifier.tasks.Kind`), `options.py` what its builder is told and what its manifest
settings hold, `build.py` writes a task, `pack.py` makes a submission, `program.py` makes the evaluation program, and
`train.py` is an example trainer for solvers. A kind never imports another: what kinds share is in the modules beside
this folder. `verifier.tasks.registry` lists the kinds.
"""
