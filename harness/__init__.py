"""A neutral benchmark and ablation harness for methods that mix SFT and RL in LLM post-training."""

__version__ = "0.1.0"
