"""A sweep trains each point once, whatever stops it, and draws what it found."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_cytosae.errors import Cancelled, RunError, TrainingError
from napari_cytosae.models import load_sae
from napari_cytosae.training import SaeTrainingConfig
from napari_cytosae.training.sweep import (
    PAPER_AXES,
    SweepGrid,
    draw_sweep,
    open_sweep,
    read_axis,
    run_sweep,
)
from napari_cytosae.training.sweep.images import (
    ArrayTokens,
    SomeImages,
    as_source,
    split_images,
    token_batches,
)

IMAGES, TOKENS, D = 30, 5, 8
BASE = SaeTrainingConfig(
    d_sae=16, steps=6, batch_images=4, lr=1e-2, warmup_steps=2, precision="float32"
)
LABELS = ["round" if row % 2 else "lobed" for row in range(IMAGES)]


@pytest.fixture(scope="module")
def tokens():
    return {
        block: np.random.default_rng(block).normal(2, 1, (IMAGES, TOKENS, D)).astype(np.float32)
        for block in (1, 3)
    }


@pytest.fixture
def grid():
    return SweepGrid(base=BASE, block=1, axes={"l1": (1e-4, 1e-2), "block": (1, 3)})


class TestGrid:
    def test_one_axis_at_a_time_has_the_base_once(self):
        grid = SweepGrid(base=BASE, block=1, axes={"l1": (8e-5, 1e-3), "ghost_gradients": (False,)})
        points = grid.points()
        # 8e-5 is the base's own λ.
        assert [(p.axis, dict(p.values)) for p in points] == [
            ("", {}),
            ("l1", {"l1": 1e-3}),
            ("ghost_gradients", {"ghost_gradients": False}),
        ]
        assert points[1].config.l1 == 1e-3
        assert points[2].config.l1 == BASE.l1

    def test_a_full_grid_has_every_combination_and_seed(self):
        grid = SweepGrid(
            base=BASE, axes={"l1": (1e-4, 1e-3), "k": (None,)}, full=True, seeds=(1, 2)
        )
        assert len(grid.points()) == 4
        assert {p.config.seed for p in grid.points()} == {1, 2}
        assert len({p.key for p in grid.points()}) == 4

    def test_an_expansion_replaces_the_bases_size(self):
        (base, small) = SweepGrid(base=BASE, axes={"expansion": (4,)}).points()
        assert base.config.concepts(D) == 16
        assert small.config.concepts(D) == 32

    def test_the_papers_axes_make_a_grid(self):
        points = SweepGrid(axes=PAPER_AXES, block=11).points()
        assert len(points) == 1 + 3 + 2 + 2 + 3 + 1 + 2
        assert {p.block for p in points} == {2, 5, 11, 12}

    def test_it_goes_through_json(self, grid):
        content = json.loads(json.dumps(grid.to_json()))
        again = SweepGrid.from_json(content, "here")
        assert [p.key for p in again.points()] == [p.key for p in grid.points()]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ([], "object"),
            ({"axes": {"l1": 3}}, "lists"),
            ({"axes": {"colour": [1]}}, "colour"),
            ({"axes": {"l1": []}}, "no values"),
            ({"axis": {}}, "axis unknown"),
            ({"seeds": []}, "seed"),
            ({"seeds": ["x"]}, "here"),
            ({"base": {"steps": 0}}, "steps"),
        ],
    )
    def test_what_is_no_grid_is_refused(self, content, said):
        with pytest.raises(TrainingError, match=said):
            SweepGrid.from_json(content, "here")

    def test_an_impossible_point_is_named(self):
        with pytest.raises(TrainingError, match="lr=-1"):
            SweepGrid(base=BASE, axes={"lr": (-1.0,)}).points()

    @pytest.mark.parametrize(
        ("text", "axis"),
        [
            ("l1=8e-4, 8e-5", ("l1", (8e-4, 8e-5))),
            ("expansion=16,32", ("expansion", (16, 32))),
            ("ghost_gradients=true,False", ("ghost_gradients", (True, False))),
            ("b_dec_init=mean", ("b_dec_init", ("mean",))),
        ],
    )
    def test_axes_are_read_as_typed(self, text, axis):
        name, values = read_axis(text)
        assert (name, values) == axis
        assert [type(v) for v in values] == [type(v) for v in axis[1]]

    @pytest.mark.parametrize("text", ["l1", "l1=", "=3", "l1=,"])
    def test_half_an_axis_is_refused(self, text):
        with pytest.raises(TrainingError, match="axis"):
            read_axis(text)


class TestImages:
    def test_some_images_are_read_by_their_own_rows(self, tokens):
        rows = np.array([1, 4, 9, 20])
        some = SomeImages(ArrayTokens(tokens[1]), rows)
        assert some.shape == (4, TOKENS, D)
        assert sum(some.shard_sizes) == 4
        np.testing.assert_array_equal(some.read(np.array([0, 3])), tokens[1][[1, 20]])

    def test_shards_keep_the_images_that_are_left_of_them(self):
        class Sharded(ArrayTokens):
            shard_sizes = (3, 3, 4)

        source = Sharded(np.zeros((10, 1, 2), np.float32))
        assert list(SomeImages(source, np.array([0, 2, 7, 8, 9])).shard_sizes) == [2, 3]

    def test_other_images_and_other_tokens_are_told_apart(self, tokens):
        a, b = ArrayTokens(tokens[1]), ArrayTokens(tokens[3])
        rows = np.arange(5)
        names = {a.identity, b.identity}
        names |= {SomeImages(a, rows).identity, SomeImages(a, rows + 1).identity}
        assert len(names) == 4
        assert SomeImages(a, rows).identity == SomeImages(ArrayTokens(tokens[1]), rows).identity

    def test_a_memory_map_is_read_and_not_loaded(self, tmp_path, tokens):
        np.save(tmp_path / "t.npy", tokens[1].astype(np.float16))
        source = as_source(np.load(tmp_path / "t.npy", mmap_mode="r"))
        assert source.read(np.array([2])).dtype == torch.float16
        (batch,) = token_batches(source, np.array([2, 5]), only_class=True)
        np.testing.assert_allclose(batch, tokens[1][[2, 5], :1], atol=2e-3)

    def test_held_out_images_are_drawn_and_disjoint(self):
        fit, left = split_images(20, 0.25, seed=3)
        assert sorted([*fit, *left]) == list(range(20))
        assert len(left) == 5
        assert list(left) != list(range(15, 20))
        with pytest.raises(TrainingError, match="held out"):
            split_images(3, 0.1, seed=0)


def test_every_point_is_trained_and_measured(tmp_path, tokens, grid):
    asked = []
    result = run_sweep(
        grid, lambda block: asked.append(block) or tokens[block], tmp_path, labels=LABELS
    )
    assert asked == [1, 3]  # one store per block
    assert result.missing == 0
    assert [r.point.values for r in result.points] == [{}, {"l1": 1e-4}, {"l1": 1e-2}, {"block": 3}]
    for found in result.points:
        assert found.measured["images"] == 6
        assert found.measured["entropy"] is not None
        assert len(found.history) == 6
        assert not (found.folder / "checkpoint.safetensors").exists()
        sae = load_sae(found.folder)
        assert (sae.d_model, sae.d_sae, sae.block) == (D, 16, found.point.block)
    low, high = result.points[1:3]
    assert high.measured["l0_per_token"] <= low.measured["l0_per_token"]


def test_stopped_anywhere_it_goes_on_and_equals_the_uninterrupted(tmp_path, tokens, grid):
    whole = run_sweep(grid, tokens.__getitem__, tmp_path / "whole", labels=LABELS)
    count = 0

    def after(steps):
        def stop() -> bool:
            nonlocal count
            count += 1
            return count > steps

        return stop

    for steps in (9, 3, 8):
        count = 0
        with pytest.raises(Cancelled):
            run_sweep(
                grid,
                tokens.__getitem__,
                tmp_path / "parts",
                labels=LABELS,
                cancelled=after(steps),
            )
    assert 0 < open_sweep(tmp_path / "parts").missing < 4
    parts = run_sweep(grid, tokens.__getitem__, tmp_path / "parts", labels=LABELS)
    for a, b in zip(whole.points, parts.points, strict=True):
        assert a.measured == b.measured
        assert (a.folder / "sae.safetensors").read_bytes() == (
            b.folder / "sae.safetensors"
        ).read_bytes()


def test_finished_points_are_not_trained_again_when_the_grid_grows(tmp_path, tokens, grid):
    run_sweep(grid, tokens.__getitem__, tmp_path)
    steps = []
    grown = SweepGrid(base=BASE, block=1, axes={"l1": (1e-4, 1e-2, 1e-3), "block": (3,)})
    result = run_sweep(
        grown, tokens.__getitem__, tmp_path, progress=lambda step: steps.append(step)
    )
    assert result.missing == 0
    assert {tuple(step.point.values.items()) for step in steps} == {(("l1", 1e-3),)}
    assert steps[-1].step == 0
    assert steps[-1].total == 5


def test_a_damaged_result_is_said_and_a_half_written_point_is_trained(tmp_path, tokens, grid):
    result = run_sweep(grid, tokens.__getitem__, tmp_path)
    (result.points[0].folder / "result.json").unlink()
    assert open_sweep(tmp_path).missing == 1
    assert run_sweep(grid, tokens.__getitem__, tmp_path).missing == 0
    (result.points[0].folder / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match="cannot be read"):
        open_sweep(tmp_path)


def test_other_images_do_not_mix_in(tmp_path, tokens, grid):
    run_sweep(grid, tokens.__getitem__, tmp_path, identity="marrow")
    with pytest.raises(TrainingError, match="other images"):
        run_sweep(grid, tokens.__getitem__, tmp_path, identity="blood")


def test_two_processes_do_not_share_a_folder(tmp_path, tokens, grid):
    from napari_cytosae.concepts.durable import only_process

    with only_process(tmp_path), pytest.raises(RunError, match="being written"):
        run_sweep(grid, tokens.__getitem__, tmp_path)


@pytest.mark.parametrize(
    ("shape", "labels", "said"),
    [((4, 3), None, "images"), ((0, 3, 8), None, "images"), ((4, 3, 8), ["a"], "1 labels")],
)
def test_tokens_that_do_not_fit_are_refused(tmp_path, shape, labels, said):
    with pytest.raises(TrainingError, match=said):
        run_sweep(
            SweepGrid(base=BASE), lambda block: np.zeros(shape, np.float32), tmp_path, labels=labels
        )


def test_no_sweep_is_said(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read"):
        open_sweep(tmp_path)


class TestFigure:
    def test_curves_stand_side_by_side(self, tmp_path, tokens, grid):
        result = run_sweep(grid, tokens.__getitem__, tmp_path, labels=LABELS)
        figure = draw_sweep(result, tmp_path / "sweep.png")
        assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
        titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
        assert titles == ["λ", "block"]
        counts = figure.axes[0]
        said = [text.get_text() for text in counts.get_legend().get_texts()]
        assert said == ["8e-05", "0.0001", "0.01"]
        drawn = counts.get_lines()[2].get_ydata()
        assert list(drawn) == list(result.points[2].measured["concepts_above"])

    def test_several_seeds_are_a_mean_and_a_range(self, tmp_path, tokens):
        grid = SweepGrid(base=BASE, axes={"l1": (1e-3,)}, block=1, seeds=(0, 1))
        result = run_sweep(grid, tokens.__getitem__, tmp_path)
        figure = draw_sweep(result)
        l0 = [p.measured["l0_per_token"] for p in result.points if not p.point.axis]
        marks = [line.get_ydata() for line in figure.axes[1].get_lines()]
        assert any(len(y) == 1 and y[0] == pytest.approx(np.mean(l0)) for y in marks)

    def test_nothing_finished_is_nothing_to_draw(self, tmp_path, tokens, grid):
        run_sweep(grid, tokens.__getitem__, tmp_path)
        shutil.rmtree(tmp_path / "points")
        with pytest.raises(TrainingError, match="nothing to draw"):
            draw_sweep(open_sweep(tmp_path))
