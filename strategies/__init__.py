"""Methods that mix supervised fine-tuning and reinforcement learning, one a file.

Usable inside any trainer: `registry.build` makes a strategy, `estimator.coefficients` maps a batch of plain tensors to
the per-token coefficients on grad log pi, `estimator.surrogate` to a loss, `standalone.loss` does all of a step in one
call. Needs torch, and pydantic where options are checked.
"""
