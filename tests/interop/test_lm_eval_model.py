"""Our answers to lm-eval's requests are those of its own `hf` model on the same weights."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is an optional extra: pip install -e '.[eval]'")
pytest.importorskip("accelerate", reason="lm-eval's hf model needs accelerate")

from lm_eval.api.instance import Instance

from benchmarks import registry
from harness.engines.base import SamplingParams
from harness.lm_eval.generation import FIRST_PIECE, Response, settings
from harness.lm_eval.scoring import cut, log_likelihoods

Pair = Callable[..., tuple[Any, Any]]


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, given, 0, ("made_up", i, 1)) for i, given in enumerate(arguments)]


def both(pair: tuple[Any, Any], kind: str, arguments: list[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
    ours, theirs = (getattr(lm, kind)(instances(kind, arguments)) for lm in pair)
    assert len(ours) == len(theirs) == len(arguments)
    return ours, theirs


def texts(n: int, seed: int) -> list[str]:
    """Problems and solutions one after the other: texts that the model knows, of any length."""
    found = []
    for name in registry.BUILT_IN:
        suite = registry.get(name)
        problems = suite.problems("eval", n, seed)
        found += [f"{problem.prompt}\n{suite.demonstration(problem)}" for problem in problems]
    random.Random(seed).shuffle(found)
    return found


@pytest.mark.parametrize("context", (1024, 24))
def test_log_likelihoods_are_equal(pair: Pair, context: int) -> None:
    rng = random.Random(0)
    arguments = []
    for text in texts(8, 0):
        at = rng.randrange(max(1, len(text) - 12), len(text))
        arguments.append((text[:at], text[at:]))
    arguments += [("", "12+30"), ("1+1 ", "2"), ("0+1\n", "1"), ("0+1\n", "2"), ("0+1\n", "3 and more")]
    ours, theirs = both(pair(context), "loglikelihood", arguments)
    for (logprob, greedy), (expected, expected_greedy) in zip(ours, theirs, strict=True):
        assert logprob == pytest.approx(expected, abs=1e-4)
        assert greedy is expected_greedy
    assert len({greedy for _, greedy in ours}) == 2  # both happen
    if context == 24:
        assert any(len(context_text) + len(rest) > 25 for context_text, rest in arguments)  # some are cut


@pytest.mark.parametrize("context", (1024, 16))
def test_rolling_log_likelihoods_are_equal(pair: Pair, context: int) -> None:
    arguments = [(text,) for text in texts(3, 1)] + [("",), ("7",)]
    ours, theirs = both(pair(context), "loglikelihood_rolling", arguments)
    assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "context"),
    (
        ({"until": ["#"], "max_gen_toks": 64}, 1024),
        ({"until": ["=", ",", "\n"], "max_gen_toks": 40, "do_sample": False, "temperature": 0.7}, 1024),
        ({"until": [], "max_gen_toks": 32}, 1024),
        ({"until": ["no such text"], "max_gen_toks": 3 * FIRST_PIECE - 5}, 1024),
        ({"until": ["#"], "max_gen_toks": 20, "temperature": 0.0}, 36),
    ),
)
def test_generations_are_equal(pair: Pair, options: dict[str, Any], context: int) -> None:
    prompts = [text.split("\n")[0] + "\n" for text in texts(5, 2)]
    ours, theirs = both(pair(context), "generate_until", [(prompt, options) for prompt in prompts])
    assert ours == theirs
    assert len(set(ours)) > 1
    if context == 36:
        assert any(len(prompt) > 16 for prompt in prompts)  # some are cut


def test_different_settings_in_one_list(pair: Pair) -> None:
    options = [{"until": ["#"], "max_gen_toks": 40}, {"until": [","], "max_gen_toks": 7}]
    arguments = [(text.split("\n")[0] + "\n", options[i % 2]) for i, text in enumerate(texts(3, 3))]
    ours, theirs = both(pair(), "generate_until", arguments)
    assert ours == theirs


def test_repeats_are_different_samples_and_the_same_again(pair: Pair) -> None:
    options = {"until": [], "max_gen_toks": 24, "do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0}
    (one,) = instances("generate_until", [("17+25+38\n", options)])
    first, again = (pair()[0].generate_until([one] * 8) for _ in range(2))
    assert first == again
    assert len(set(first)) > 1


def test_greedy_settings_drop_what_only_sampling_uses() -> None:
    known = settings({"until": "x", "do_sample": True, "temperature": 0.5, "top_p": 0.9}, 77)
    assert known.params == SamplingParams(77, 0.5, 0.9) and known.stop == ("x",)
    greedy = settings({"until": [], "do_sample": False, "top_k": 5, "top_p": 0.9, "temperature": 0.7}, 8)
    assert greedy.params == SamplingParams(8, 0.0, 1.0) and greedy.stop == ()


@pytest.mark.parametrize(
    ("name", "value", "others"),
    (("num_beams", 4, {}), ("repetition_penalty", 1.1, {}), ("top_k", 20, {"do_sample": True, "temperature": 1.0})),
)
def test_options_that_engines_do_not_have_are_refused(name: str, value: float, others: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}"):
        settings({"until": [], name: value, **others}, 8)


def test_too_many_tokens_are_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="max-tokens"):
        pair(64)[0].generate_until(instances("generate_until", [("1+1\n", {"until": [], "max_gen_toks": 64})]))


def test_without_transformers_no_likelihoods(loaded: tuple[Any, Any]) -> None:
    from harness.lm_eval.model import HarnessLM

    lm = HarnessLM(SimpleNamespace(), loaded[1], 1024)
    with pytest.raises(ValueError, match="log-likelihoods"):
        lm.loglikelihood(instances("loglikelihood", [("1+1\n", "2")]))


def test_log_likelihoods_by_definition(loaded: tuple[Any, Any]) -> None:
    """Against the probability of one token after the other, each from a forward of its own."""
    import torch

    model, tokenizer = loaded
    pairs = [
        (tokenizer.encode(c), tokenizer.encode(t)) for c, t in (("3+4\n", "7"), ("3+4\n", "3+4=7#7"), ("9\n", "#"))
    ]
    found = log_likelihoods(model, pairs, 1024)
    for (context, target), (logprob, _) in zip(pairs, found, strict=True):
        total, ids = 0.0, list(context)
        for token in target:
            with torch.no_grad():
                total += float(model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])
            ids.append(token)
        assert logprob == pytest.approx(total, abs=1e-4)


def test_cutting_keeps_the_end() -> None:
    assert cut(([1, 2, 3], [4, 5]), 10) == ((1, 2, 3, 4), (4, 5))
    assert cut(([1, 2, 3], [4, 5]), 2) == ((3, 4), (4, 5))
    with pytest.raises(ValueError, match="longer"):
        cut(([1], [2, 3, 4]), 2)


def test_one_bos_whoever_writes_it(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids of an exported prompt: by our Renderer, by lm-eval's `hf` model, and by our adapter inside lm-eval."""
    import copy

    from lm_eval.models.huggingface import HFLM
    from tokenizers.processors import TemplateProcessing

    from harness.data import Renderer
    from harness.lm_eval import model as adapter
    from harness.lm_eval.export import prompt_text

    network, tokenizer = loaded[0], copy.deepcopy(loaded[1])
    bos = tokenizer.pad_token  # some id that the model knows
    tokenizer.bos_token = bos
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    (problem,) = registry.get("math").problems("eval", 1, 0)
    theirs = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=1)
    ours = adapter.HarnessLM(SimpleNamespace(), tokenizer, 1024)
    seen = []
    monkeypatch.setattr(
        adapter, "generate", lambda engine, prompts, *others: seen.extend(prompts) or [Response("7", 1, "stop")]
    )
    for style in ("plain", "chat"):
        text = prompt_text(problem, style)
        if style == "chat":
            text = ours.apply_chat_template([{"role": "user", "content": text}])
            assert text == theirs.apply_chat_template([{"role": "user", "content": prompt_text(problem, style)}])
        expected = list(Renderer(tokenizer, style, False, 1024).prompt(problem))
        assert expected.count(tokenizer.bos_token_id) == 1 and expected[0] == tokenizer.bos_token_id
        assert theirs.tok_batch_encode([text])[0].tolist() == [expected]
        assert ours.tok_encode(text) == theirs.tok_encode(text) == expected
        assert ours.generate_until(instances("generate_until", [(text, {"until": [], "max_gen_toks": 4})])) == ["7"]
        assert seen.pop() == expected
