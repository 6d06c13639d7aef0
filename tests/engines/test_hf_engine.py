from __future__ import annotations

import dataclasses

import pytest
import torch
import transformers

from harness.engines.base import Completion, SamplingParams
from harness.engines.hf import HFEngine
from harness.engines.llama_decoder import LlamaDecoder
from tests.engines.tiny import chi_square_p, enumerate_completions, make, next_logits, prompts

EOS = 1
EITHER_PATH = pytest.mark.parametrize("name", ["qwen2", "gpt2"])  # the lean decoder and the model's own forward


def ending(name: str, bias: float = 1.5) -> transformers.PreTrainedModel:
    """A model whose samples end by themselves after some ten tokens."""
    model = make(name, initializer_range=0.05)
    head = torch.nn.Linear(model.lm_head.in_features, model.lm_head.out_features)
    head.weight = model.lm_head.weight
    head.bias.data.zero_()[EOS] = bias
    model.lm_head = head
    return model


def rows_equal(a: list[Completion], b: list[Completion]) -> None:
    assert [(row.tokens, row.finish) for row in a] == [(row.tokens, row.finish) for row in b]
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(torch.tensor(x.logp), torch.tensor(y.logp), atol=1e-5, rtol=0)


@EITHER_PATH
def test_a_sample_does_not_depend_on_its_batch(name):
    model = ending(name)
    texts = prompts([5, 9, 9, 3, 17, 8, 8, 2] * 4)
    texts[8:12] = [texts[0]] * 4
    seeds = [2**63 - 1 - 7 * i for i in range(len(texts))]
    params = SamplingParams(25)
    together = HFEngine(model).sample(texts, seeds, params, [EOS])
    assert {row.finish for row in together} == {"stop", "length"}
    engine = HFEngine(model, batch_size=5)
    rows_equal(together, engine.sample(texts, seeds, params, [EOS]))
    rows_equal(together[::-1], engine.sample(texts[::-1], seeds[::-1], params, [EOS]))
    rows_equal(together[:9], [engine.sample([texts[i]], [seeds[i]], params, [EOS])[0] for i in range(9)])
    group = together[8:12]
    assert len({row.tokens for row in group}) > 1  # one prompt, four seeds


@EITHER_PATH
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (0.0, 1.0)])
def test_log_probs_and_finish_match_a_teacher_forced_forward(name, temperature, top_p):
    model = ending(name)
    texts = prompts([4, 12, 12, 30, 7] * 3)
    params = SamplingParams(25, temperature, top_p)
    finishes = set()
    for prompt, row in zip(texts, HFEngine(model).sample(texts, range(len(texts)), params, [EOS, 2]), strict=True):
        logits = next_logits(model, [*prompt, *row.tokens])[len(prompt) - 1 : -1]
        logp = torch.log_softmax(logits / (temperature or 1), -1)
        picked = logp[torch.arange(len(row.tokens)), torch.tensor(row.tokens)]
        torch.testing.assert_close(torch.tensor(row.logp), picked, atol=1e-4, rtol=0)
        assert not {EOS, 2} & set(row.tokens[:-1])
        assert (row.finish == "stop") == (row.tokens[-1] in (EOS, 2))
        assert row.finish == "stop" or len(row.tokens) == 25
        finishes.add(row.finish)
    assert "stop" in finishes


@EITHER_PATH
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.3, 0.7)])
def test_completions_have_the_models_exact_distribution(name, temperature, top_p):
    model = make(name, vocab_size=8, initializer_range=0.25)
    prompt = [3, 5, 2, 7]
    exact = enumerate_completions(model, prompt, 3, EOS, temperature, top_p)
    other = enumerate_completions(model, prompt, 3, EOS, temperature * 1.2, top_p)
    assert abs(sum(exact.values()) - 1) < 1e-9
    n = 4000
    rows = HFEngine(model, batch_size=n).sample([prompt] * n, range(n), SamplingParams(3, temperature, top_p), [EOS])
    observed = [row.tokens for row in rows]
    assert chi_square_p(observed, exact) > 1e-3
    assert chi_square_p(observed, other) < 1e-6  # the test can tell a wrong temperature
    torch.manual_seed(0)
    config = transformers.GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_p=top_p,
        top_k=0,
        max_new_tokens=3,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    generated = model.generate(torch.tensor([prompt] * n), generation_config=config)[:, len(prompt) :].tolist()
    cut = [tuple(row[: row.index(EOS) + 1] if EOS in row else row) for row in generated]
    assert chi_square_p(cut, exact) > 1e-3


@EITHER_PATH
def test_temperature_zero_is_greedy_generate(name):
    model = make(name, initializer_range=0.3)
    for prompt, row in zip(texts := prompts([3, 8, 8, 15]), greedy(model, texts), strict=True):
        config = transformers.GenerationConfig(do_sample=False, max_new_tokens=20, eos_token_id=EOS, pad_token_id=0)
        truth = model.generate(torch.tensor([prompt]), generation_config=config)[0, len(prompt) :]
        assert list(row.tokens) == truth.tolist()


def greedy(model: transformers.PreTrainedModel, texts: list[list[int]]) -> list[Completion]:
    return HFEngine(model).sample(texts, range(len(texts)), SamplingParams(20, temperature=0), [EOS])


def test_ended_rows_and_shared_prompts_cost_no_work(monkeypatch):
    model = ending("qwen2", bias=2.0)
    decoded, prefilled = [], []
    step, prefill = LlamaDecoder.step, LlamaDecoder._prefill
    monkeypatch.setattr(LlamaDecoder, "step", lambda self, t: decoded.append(len(t)) or step(self, t))
    monkeypatch.setattr(LlamaDecoder, "_prefill", lambda self, p, *rest: prefilled.extend(p) or prefill(self, p, *rest))
    texts = [prompt for prompt in prompts([6, 9, 11, 4]) for _ in range(32)]
    rows = HFEngine(model).sample(texts, range(128), SamplingParams(64), [EOS])
    tokens = sum(len(row.tokens) for row in rows)
    assert tokens < 128 * 64 / 3
    assert tokens - 128 <= sum(decoded) < 1.25 * tokens
    assert len(prefilled) == 4


@EITHER_PATH
def test_rare_looks_at_ended_rows_change_nothing(name, monkeypatch):
    model = ending(name)
    texts = prompts([5, 9, 9, 3] * 5)
    run = lambda: HFEngine(model).sample(texts, range(20), SamplingParams(30), [EOS])  # noqa: E731
    often = run()
    monkeypatch.setattr("harness.engines.hf._LOOK_EVERY", {})  # as on a device
    rows_equal(often, run())


@EITHER_PATH
def test_the_trainers_module_is_shared_and_left_as_it_was(name):
    model = ending(name)
    model.train()
    inner = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))[0]
    inner.eval()
    modes = [module.training for module in model.modules()]
    engine = HFEngine(model)
    run = lambda: engine.sample(prompts([5, 6]), [1, 2], SamplingParams(8), [])  # noqa: E731
    before = run()
    assert [module.training for module in model.modules()] == modes
    batch = torch.tensor(prompts([7]))
    model(batch, labels=batch).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    optimiser.step()
    after = run()
    assert before != after
    for prompt, row in zip(prompts([5, 6]), after, strict=True):
        logits = next_logits(model.eval(), [*prompt, *row.tokens])[len(prompt) - 1 : -1]
        picked = torch.log_softmax(logits, -1)[torch.arange(8), torch.tensor(row.tokens)]
        torch.testing.assert_close(torch.tensor(row.logp), picked, atol=1e-4, rtol=0)


def test_dropout_is_off_while_sampling():
    model = make("gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    quiet = HFEngine(model).sample(prompts([6]), [3], SamplingParams(10), [])
    rows_equal(quiet, HFEngine(model.train()).sample(prompts([6]), [3], SamplingParams(10), []))


def test_load_weights_copies_named_tensors():
    model, source = make("qwen2-tied", seed=0), make("qwen2-tied", seed=1)
    engine = HFEngine(model)
    engine.load_weights(source.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), source.parameters(), strict=True))
    rows_equal(greedy(model, prompts([5])), greedy(source, prompts([5])))
    engine.load_weights(model.state_dict().items())
    with pytest.raises(ValueError, match="no weight named 'absent'"):
        engine.load_weights([("absent", torch.zeros(1))])
    with pytest.raises(ValueError, match=r"norm\.weight is"):
        engine.load_weights([("model.norm.weight", torch.zeros(1))])
    engine.sleep()
    engine.wake()
    engine.close()


def test_mistakes_of_the_caller_are_named():
    engine = HFEngine(make("qwen2"))
    params = SamplingParams(500)
    assert engine.sample([], [], params, [EOS]) == []
    (longest,) = prompts([12])
    assert len(engine.sample([longest], [0], SamplingParams(3), [])[0].tokens) == 3
    engine.sample([longest], [0], params, [EOS])
    for texts, seeds, eos, message in (
        ([[*longest, 3]], [0], [EOS], "more than the model's 512 positions"),
        ([[]], [0], [EOS], "Prompt 0 is empty"),
        ([[40]], [0], [EOS], "outside the vocabulary"),
        ([[-1]], [0], [EOS], "outside the vocabulary"),
        ([[3]], [0], [40], "check eos_ids"),
        ([[3]], [-1], [EOS], "63-bit"),
        ([[3]], [2**63], [EOS], "63-bit"),
        ([[3]], [0, 1], [EOS], "one seed per prompt"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.sample(texts, seeds, params, eos)
    with pytest.raises(ValueError, match="batch_size"):
        HFEngine(make("qwen2"), batch_size=0)
    with pytest.raises(ValueError, match="inside the wrapper"):
        HFEngine(torch.nn.Sequential(make("qwen2")))
    for change in ({"max_tokens": 0}, {"temperature": -0.1}, {"temperature": float("nan")}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            dataclasses.replace(params, **change)


@EITHER_PATH
def test_bfloat16_log_probs_stay_close_to_float32(name):
    model = ending(name).to(torch.bfloat16)
    exact = ending(name)
    exact.load_state_dict(model.state_dict())
    texts = prompts([5, 9, 9, 3] * 3)
    for prompt, row in zip(texts, HFEngine(model).sample(texts, range(12), SamplingParams(20), [EOS]), strict=True):
        logits = next_logits(exact, [*prompt, *row.tokens])[len(prompt) - 1 : -1]
        picked = torch.log_softmax(logits, -1)[torch.arange(len(row.tokens)), torch.tensor(row.tokens)]
        torch.testing.assert_close(torch.tensor(row.logp), picked, atol=0.05, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@EITHER_PATH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda(name, dtype):
    model = ending(name).to("cuda", dtype)
    exact = ending(name)
    exact.load_state_dict(model.state_dict())
    texts = prompts([5, 9, 9, 3, 17] * 8)
    rows = HFEngine(model).sample(texts, range(40), SamplingParams(40), [EOS])
    for prompt, row in zip(texts, rows, strict=True):
        logits = next_logits(exact, [*prompt, *row.tokens])[len(prompt) - 1 : -1]
        picked = torch.log_softmax(logits, -1)[torch.arange(len(row.tokens)), torch.tensor(row.tokens)]
        atol = 1e-4 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(torch.tensor(row.logp), picked, atol=atol, rtol=0)
