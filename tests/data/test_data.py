"""What a run trains on: the order of its problems, the noise on demonstrations and rewards, and the token ids."""

from __future__ import annotations

import math
import string
from dataclasses import replace
from itertools import islice

import pytest
from transformers import GenerationConfig

from benchmarks import registry
from benchmarks.base import Problem
from benchmarks.corpus import MANNERS
from benchmarks.corpus import stream as corpus_stream
from harness.data import Feed, Renderer, TrainingData, evaluation_suites
from harness.evaluate import Evaluator
from harness.models import ladder
from harness.models.tokenizer import CHARACTERS, character_tokenizer
from harness.seeds import chance, permutation
from strategies.base import Role

SUITES = tuple(registry.BUILT_IN)


@pytest.fixture(scope="module")
def tokenizer():
    return character_tokenizer()


@pytest.fixture(scope="module")
def renderer(tokenizer):
    return Renderer(tokenizer, "plain", True, 1024)


def binomial(n: int, share: float) -> float:
    """Five standard deviations of a share: a right program fails once in two million seeds."""
    return 5 * math.sqrt(share * (1 - share) / n)


# ---- token ids


def test_every_character_survives(tokenizer, renderer):
    assert set(CHARACTERS) == {"\n", *(c for c in string.printable if c.isprintable())}
    ids = renderer.response(CHARACTERS)
    assert len(ids) == len(CHARACTERS) + 1 and len(set(ids)) == len(ids)
    assert renderer.text(ids) == CHARACTERS
    text = "  a  b .,'s\n\n n't #1 ,x "  # nothing is tidied up
    assert renderer.text(renderer.response(text)) == text


@pytest.mark.parametrize("name", SUITES)
def test_prompts_and_demonstrations_are_known_tokens(name, tokenizer, renderer):
    suite = registry.get(name)
    unknown = tokenizer.unk_token_id
    for split, level in (("train", 1), ("train", 2), ("train", 3), ("ood", 4)):
        for problem in islice(suite.stream(split, 5, (level,)), 60):
            prompt = renderer.prompt(problem)
            assert unknown not in prompt and renderer.eos not in prompt
            assert renderer.text(prompt) == problem.prompt + "\n"
            for wrong in (False, True):
                text = suite.demonstration(problem, wrong=wrong)
                response = renderer.response(text)
                assert unknown not in response
                assert response[-1] == renderer.eos and renderer.eos not in response[:-1]
                assert renderer.text(response) == text


def test_training_and_evaluation_share_one_rendering(make_spec, renderer):
    """The prompt of a demonstration, of a rollout and of an evaluated sample is one function of the problem."""
    data = TrainingData(make_spec(), renderer)
    problem = data.prompts.items[0]
    assert data.expert_row(problem, 0).prompt == data.teacher_rows(problem, 0, 1)[0].prompt == renderer.prompt(problem)


def test_chat_style_asks_for_the_marked_answer(tokenizer):
    chat = Renderer(tokenizer, "chat", False, 1024)
    problem = Problem("id", "suite", "1+1", "2")
    assert chat.text(chat.prompt(problem)).startswith("1+1")
    assert "'#'" in chat.text(chat.prompt(problem))
    assert Renderer(tokenizer, "auto", False, 1024).style == "chat"
    assert Renderer(tokenizer, "auto", True, 1024).style == "plain"


def test_a_response_ends_at_every_id_that_the_model_names(tokenizer, tmp_path):
    ref = ladder.ModelRef("m", str(tmp_path), "local")
    assert ladder.end_ids(ref, {}) == ()
    assert ladder.end_ids(ref, {"eos_token_id": 7}) == (7,)
    GenerationConfig(eos_token_id=[5, 6]).save_pretrained(tmp_path)
    assert ladder.end_ids(ref, {"eos_token_id": 7}) == (5, 6)
    eos = tokenizer.eos_token_id
    assert Renderer(tokenizer, "plain", True, 1024).ends == (eos,)
    assert Renderer(tokenizer, "plain", True, 1024, (9, eos)).ends == (eos, 9)


def test_tokenizers_that_cannot_work_are_refused():
    bare = character_tokenizer()
    bare.chat_template = None
    assert Renderer(bare, "auto", False, 1024).style == "plain"
    with pytest.raises(ValueError, match="no chat template"):
        Renderer(bare, "chat", False, 1024)
    endless = character_tokenizer()
    endless.eos_token = None
    with pytest.raises(ValueError, match="end-of-sequence"):
        Renderer(endless, "plain", True, 1024)
    twice = character_tokenizer()
    twice.bos_token = "a"
    with pytest.raises(ValueError, match="two BOS"):
        Renderer(twice, "plain", True, 1024).prompt(Problem("id", "suite", "aab", "2"))


# ---- order


def test_a_feed_gives_every_item_once_a_lap(renderer):
    items = list(islice(registry.get("math").stream("train", 0), 17))
    feed = Feed(items, 3, "x")
    laps = [[p.id for p in feed.take(17)] for _ in range(4)]
    assert all(sorted(lap) == sorted(p.id for p in items) for lap in laps)
    assert len({tuple(lap) for lap in laps}) == 4
    flat = [i for lap in laps for i in lap]
    pieces = Feed(items, 3, "x")
    assert [p.id for n in (1, 5, 20, 0, 42) for p in pieces.take(n)] == flat
    resumed = Feed(items, 3, "x", position=23)
    assert [p.id for p in resumed.take(45)] == flat[23:]
    assert [p.id for p in Feed(items, 4, "x").take(17)] != laps[0]
    assert [p.id for p in Feed(items, 3, "y").take(17)] != laps[0]


def test_permutations_are_uniform():
    seen = {tuple(permutation(3, "test", i)) for i in range(200)}
    assert len(seen) == 6
    first = sum(permutation(5, "test", i)[0] == 0 for i in range(2000)) / 2000
    assert abs(first - 0.2) < binomial(2000, 0.2)


def test_runs_of_different_seeds_share_their_problems_in_another_order(make_spec, renderer):
    a, b = (TrainingData(make_spec(seed=seed), renderer) for seed in (0, 1))
    assert a.prompts.items == b.prompts.items
    assert a.prompts.take(30) != b.prompts.take(30)
    other = TrainingData(make_spec(data={"seed": 1}), renderer)
    assert other.prompts.items != a.prompts.items
    state = a.state_dict()
    ahead = a.prompts.take(7)
    again = TrainingData(make_spec(seed=0), renderer)
    again.load_state_dict(state)
    assert again.prompts.take(7) == ahead


def test_training_problems_are_not_evaluated(make_spec, renderer):
    spec = make_spec(data={"suites": list(SUITES), "problems": 300, "levels": [1, 2, 3]}, eval={"problems": 100})
    trained = {problem.prompt for problem in TrainingData(spec, renderer).prompts.items}
    assert len(trained) > 1100
    evaluator = Evaluator(spec, renderer, None, lambda text: None)
    for suite in evaluation_suites(spec.data, spec.eval):
        for split in ("eval", "ood"):
            assert not trained & {problem.prompt for problem in evaluator.problems(suite, split)}


def test_what_does_not_fit_the_context_is_left_out(make_spec, tokenizer):
    spec = make_spec(data={"problems": 200})
    whole = TrainingData(spec, Renderer(tokenizer, "plain", True, 1024))
    longest = max(len(whole.renderer.prompt(p)) for p in whole.prompts.items)
    short = TrainingData(spec, Renderer(tokenizer, "plain", True, longest + spec.rollout.max_tokens - 1))
    assert 0 < short.too_long < 200 and len(short.prompts.items) == len(whole.prompts.items) - short.too_long
    assert all(len(r.prompt) + len(r.response) <= short.renderer.context for r in short.pool_rows(300, 0))
    with pytest.raises(ValueError, match="no training prompt fits"):
        TrainingData(spec, Renderer(tokenizer, "plain", True, 5))


# ---- noise


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_demonstrations_are_wrong_in_the_share_asked_for(name, noise, make_spec, renderer):
    """By the verifier, which is not told which ones are."""
    spec = make_spec(data={"suites": [name], "problems": 400, "levels": [1, 2, 3], "demo_noise": noise})
    data = TrainingData(spec, renderer)
    rows = data.pool_rows(400, 0)
    problems = {problem.id: problem for problem in data.demos.items}
    assert len({row.problem for row in rows}) == 400
    verdicts = data.suites[name].grade(
        [problems[row.problem] for row in rows], [renderer.text(row.response) for row in rows]
    )
    assert [row.reward for row in rows] == [verdict.score for verdict in verdicts]
    share = sum(row.reward == 0.0 for row in rows) / 400
    assert abs(share - noise) <= binomial(400, noise)
    assert {row.role for row in rows} == {Role.DEMO} and {row.logp for row in rows} == {None}
    assert [row.group for row in rows] == list(range(400))
    # the same demonstration whenever its problem comes up, in a group or from the pool
    by_problem = {row.problem: row.response for row in rows}
    assert all(data.expert_row(problem, 9).response == by_problem[problem.id] for problem in data.demos.items[:40])


def test_teachers_err_by_themselves(make_spec, renderer):
    data = TrainingData(make_spec(data={"suites": ["math"], "problems": 500, "teacher_error": 0.4}), renderer)
    rows = [data.teacher_rows(problem, 0, 3) for problem in data.prompts.items]
    assert {row.role for group in rows for row in group} == {Role.TEACHER}
    for i in range(3):
        share = sum(group[i].reward == 0.0 for group in rows) / 500
        assert abs(share - 0.4) <= binomial(500, 0.4)
    both = sum(group[0].reward == group[1].reward == 0.0 for group in rows) / 500
    assert abs(both - 0.16) <= binomial(500, 0.16)


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_rewards_are_flipped_in_the_share_asked_for(noise, make_spec, renderer):
    data = TrainingData(make_spec(data={"reward_noise": noise}), renderer)
    problems = data.prompts.items[:20]
    for score in (0.0, 1.0):
        given = [data.noisy_reward(score, step, p, j) for step in range(25) for p in problems for j in range(8)]
        flipped = sum(value != score for value in given) / len(given)
        assert set(given) <= {0.0, 1.0}
        assert abs(flipped - noise) <= binomial(len(given), noise)
    assert data.noisy_reward(1.0, 3, problems[0], 2) == data.noisy_reward(1.0, 3, problems[0], 2)
    other = TrainingData(replace(data.spec, seed=1), renderer)
    first, second = ([d.noisy_reward(1.0, step, problems[0], 0) for step in range(99)] for d in (data, other))
    assert (first != second) == (0 < noise < 1)


def test_noise_changes_neither_the_problems_nor_the_other_demonstrations(make_spec, renderer):
    clean, noisy = (TrainingData(make_spec(data={"problems": 300, "demo_noise": n}), renderer) for n in (0.0, 0.3))
    assert clean.prompts.items == noisy.prompts.items
    pairs = list(zip(clean.pool_rows(200, 0), noisy.pool_rows(200, 0), strict=True))
    assert all((a == b) == (b.reward == 1.0) for a, b in pairs)
    # more noise spoils more of them, the same ones among them
    more = TrainingData(make_spec(data={"problems": 300, "demo_noise": 0.6}), renderer)
    wrong = [{row.problem for row in d.pool_rows(600, 0) if row.reward == 0} for d in (noisy, more)]
    assert wrong[0] < wrong[1]


def test_chance_is_a_function_of_its_names():
    hits = [chance(0.25, "test", i) for i in range(4000)]
    assert hits == [chance(0.25, "test", i) for i in range(4000)]
    assert abs(sum(hits) / 4000 - 0.25) <= binomial(4000, 0.25)
    assert not chance(0.0, "x") and chance(1.0, "x")


# ---- the corpus of the embedded models


def test_the_corpus_is_mixed_in_its_shares(renderer):
    n = 4000
    rows = list(islice(corpus_stream(1), n))
    for manner, share in MANNERS.items():
        assert abs(sum(row[2] == manner for row in rows) / n - share) <= binomial(n, share)
    for name in SUITES:
        assert abs(sum(row[0].suite == name for row in rows) / n - 1 / len(SUITES)) <= binomial(n, 0.25)
    direct = [(problem, text) for problem, text, manner in rows if manner == "direct" and problem.suite != "code"]
    verdicts = [registry.get(problem.suite).grade([problem], [text])[0] for problem, text in direct]
    right = sum(verdict.score for verdict in verdicts) / len(verdicts)
    assert abs(right - 0.3) <= binomial(len(verdicts), 0.3)
    careful = [(problem, text) for problem, text, manner in rows if manner == "careful" and problem.suite != "code"]
    assert all(registry.get(problem.suite).grade([problem], [text])[0].score == 1.0 for problem, text in careful)
    assert rows[:50] == list(islice(corpus_stream(1), 50)) != list(islice(corpus_stream(2), 50))
