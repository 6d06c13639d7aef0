"""Rollout engines: token ids in, sampled completions with log-probs out."""
