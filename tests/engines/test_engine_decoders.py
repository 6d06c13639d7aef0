from __future__ import annotations

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from harness.engines import llama_decoder
from harness.engines.cache_decoder import CacheDecoder
from harness.engines.llama_decoder import LlamaDecoder, supports
from tests.engines.tiny import LEAN, OTHER, make, next_logits, prompts


@torch.no_grad()
def agree(decoder, model, atol: float) -> None:
    """Prefill, steps and a change of rows against plain forwards of every row alone."""
    distinct, repeats = prompts([3, 9, 20]), [1, 3, 1]
    logits = decoder.start(distinct, repeats, 30)
    assert logits.dtype == torch.float32
    rows = [list(p) for p, times in zip(distinct, repeats, strict=True) for _ in range(times)]
    lengths = [len(row) for row in rows]
    alive, got = [0, 1, 2, 3, 4], [[] for _ in rows]
    for step in range(30):
        for i, row_logits in zip(alive, logits, strict=True):
            got[i].append(row_logits)
        if step == 10:
            order = torch.tensor([4, 1, 3])
            decoder.keep(order)
            alive = order.tolist()
        tokens = torch.randint(2, 40, (len(alive),), generator=torch.Generator().manual_seed(step))
        for i, token in zip(alive, tokens.tolist(), strict=True):
            rows[i].append(token)
        logits = decoder.step(tokens)
    for row, start, own in zip(rows, lengths, got, strict=True):
        truth = next_logits(model, row)[start - 1 : start - 1 + len(own)]
        torch.testing.assert_close(torch.stack(own), truth, atol=atol, rtol=0)


@pytest.mark.parametrize("name", LEAN)
def test_lean_decoder_equals_the_models_own_forward(name):
    model = make(name)
    assert supports(model)
    agree(LlamaDecoder(model), model, 1e-5)


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_lean_decoder_with_unfused_weights_and_a_growing_cache(name, monkeypatch):
    monkeypatch.setattr(llama_decoder, "_FUSE_BYTES", 0)
    monkeypatch.setattr(llama_decoder, "_GROW", 4)
    model = make(name)
    agree(LlamaDecoder(model), model, 1e-5)


def test_lean_decoder_with_a_prefill_in_several_groups(monkeypatch):
    monkeypatch.setitem(llama_decoder._PREFILL_TOKENS, "cpu", 18)
    model = make("qwen2")
    agree(LlamaDecoder(model), model, 1e-5)


@pytest.mark.parametrize("name", ["qwen2-tied", "qwen3", "llama"])
def test_lean_decoder_in_bfloat16(name):
    model = make(name, initializer_range=0.1)
    exact = make(name, initializer_range=0.1)
    model = model.to(torch.bfloat16)
    exact.load_state_dict(model.state_dict())  # the rounded weights, in float32 arithmetic
    with torch.no_grad():
        (prompt,) = prompts([30])
        decoder = LlamaDecoder(model)
        got = [decoder.start([prompt[:10]], [1], 20)[0]]
        got += [decoder.step(torch.tensor([token]))[0] for token in prompt[10:-1]]
        truth = next_logits(exact, prompt)[9:-1]
        own = next_logits(model, prompt)[9:-1]
    error = (torch.stack(got) - truth).abs().mean()
    assert error < 1.5 * (own - truth).abs().mean()
    assert error < 0.02 * truth.abs().mean()


@pytest.mark.parametrize("name", [*OTHER, "qwen2"])
def test_cache_decoder_equals_the_models_own_forward(name):
    model = make(name)
    assert supports(model) == (name == "qwen2")
    agree(CacheDecoder(model), model, 2e-5)


def test_wrapped_modules_are_left_to_their_own_forward():
    hooked = make("qwen2")
    hooked.model.layers[0].register_forward_hook(lambda *_: None)
    replaced = make("qwen2")
    inner = replaced.model.layers[1].self_attn.q_proj
    replaced.model.layers[1].self_attn.q_proj = torch.nn.Sequential(inner)
    for model in (hooked, replaced):
        assert not supports(model)
        with pytest.raises(ValueError, match="CacheDecoder"):
            LlamaDecoder(model)


def test_a_model_without_key_value_cache_is_refused():
    model = MambaForCausalLM(MambaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, state_size=4))
    with pytest.raises(ValueError, match="no key-value cache"):
        CacheDecoder(model)
