"""Where evaluations run. The service knows the interface, `executor.Executor`; `sandbox.Sandbox` implements it."""
