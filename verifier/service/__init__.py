"""The verifier service: it reads the chain, does an operator's duties and never votes twice.

`run` builds it from `config` and runs it; `tick` is its whole flow; `duties` says what is due; `actions` does it, with
`files`, `fetches`, `evaluations` and `votes`; `journal` is what it must not forget; `telemetry` is what operators see.
"""
