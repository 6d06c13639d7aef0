"""Evaluation with an engine that finishes samples one by one: stored as they come, in order at the end, never twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.data import Renderer
from harness.engines.base import Completion, Streaming
from harness.evaluate import Evaluator
from harness.models.tokenizer import character_tokenizer
from harness.store import RunDir, read_lines


class Streamer:
    """Finishes samples in an order of its own, a few at a time; each says the last digits of its seed."""

    own_weights = False

    def __init__(self, tokenizer, stop_after: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.stop_after = stop_after
        self.asked: list[int] = []

    def stream(self, prompts, seeds, params, eos_ids, ended=None) -> Iterator[list[tuple[int, Completion]]]:
        self.asked += seeds
        order = sorted(range(len(prompts)), key=lambda i: seeds[i] % 1009)
        done = 0
        while order:
            piece, order = order[:3], order[3:]
            yield []
            yield [(i, Completion(self._text(seeds[i]), (), "stop")) for i in piece]
            done += len(piece)
            if self.stop_after is not None and done >= self.stop_after:
                raise KeyboardInterrupt

    def _text(self, seed: int) -> tuple[int, ...]:
        return (*self.tokenizer.encode(f"#{seed % 100}"), self.tokenizer.eos_token_id)


def evaluator(spec, engine, drawn=lambda completions, seconds: None) -> Evaluator:
    assert isinstance(engine, Streaming)
    renderer = Renderer(engine.tokenizer, "plain", True, 1024)
    return Evaluator(spec, renderer, engine, lambda text: None, drawn=drawn)


@pytest.fixture
def spec(make_spec):
    return make_spec(data={"suites": ["math"]}, eval={"problems": 7, "k": 3, "ood_problems": 0})


def test_samples_are_stored_as_they_come_and_in_order_at_the_end(spec, tmp_path):
    directory = RunDir(tmp_path)
    pieces, path = [], directory.generations("math", 0.0)

    def drawn(found, seconds):
        pieces.append(len(found))
        assert len(read_lines(path)) == sum(pieces)

    engine = Streamer(character_tokenizer())
    summary = evaluator(spec, engine, drawn).run(directory, 0.0, False)
    rows = read_lines(path)
    assert [row["seed"] for row in rows] == engine.asked and len(rows) == 21
    assert all(row["text"] == f"#{row['seed'] % 100}" for row in rows)
    assert pieces == [0, 3] * 7
    verdicts = read_lines(directory.verdicts("math", 0.0))
    assert [(row["problem"], row["sample"]) for row in verdicts] == [(row["problem"], row["sample"]) for row in rows]
    assert summary["math"]["n"] == 7 and summary["math"]["k"] == 3


def test_an_interrupted_evaluation_keeps_every_finished_sample_and_draws_the_rest_only(spec, tmp_path):
    whole, cut = RunDir(tmp_path / "whole"), RunDir(tmp_path / "cut")
    evaluator(spec, Streamer(character_tokenizer())).run(whole, 0.0, False)
    with pytest.raises(KeyboardInterrupt):
        evaluator(spec, Streamer(character_tokenizer(), stop_after=8)).run(cut, 0.0, False)
    path = cut.generations("math", 0.0)
    kept = read_lines(path)
    assert len(kept) == 9
    with open(path, "a") as stream:
        stream.write('{"problem": "torn')
    engine = Streamer(character_tokenizer())
    evaluator(spec, engine).run(cut, 0.0, False)
    assert len(engine.asked) == 12 and not {row["seed"] for row in kept} & set(engine.asked)
    for folder in ("generations", "verdicts"):
        assert (cut.path / folder / "math@0.00.jsonl").read_text() == (
            whole.path / folder / "math@0.00.jsonl"
        ).read_text()
