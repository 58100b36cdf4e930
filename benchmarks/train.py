"""Tokens per second of a training, against the same steps in plain PyTorch, with both loss curves.

The plain training is the recipe's loss under automatic differentiation, with ``torch.optim.Adam``,
in float32, as one would write it first (`napari_cytosae.training.recipe`, which the tests hold to
the reference's numbers). Both begin with the same weights and see the same batches, so that their
curves can be laid over each other. Tokens are sums of a few of 2,048 directions, 768 wide.

Concepts are many per token at first and few later; ours goes over the active ones alone as soon as
that is the faster way, so the ratio is given for the first and the last steps, and for all.

    python benchmarks/train.py                                    # 768 → 12,288
    python benchmarks/train.py --device cuda --d-sae 49152 --tokens 16448 --figure curves.png
"""

import argparse
import platform
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch

from napari_cytosae.models import resolve_device, resolve_precision
from napari_cytosae.training import SaeTrainingConfig, train_sae
from napari_cytosae.training.initialise import initial_sae
from napari_cytosae.training.recipe import (
    losses,
    normalise_decoder,
    remove_parallel_gradient,
)
from napari_cytosae.training.tokens.batches import GivenBatches

D_MODEL, DIRECTIONS, ACTIVE = 768, 2048, 12
LEAST_RATIO = 3.0
SHOWN = 10  # steps at the beginning and at the end that are told apart


def batches(count: int, tokens: int, device: torch.device) -> list[torch.Tensor]:
    """Draw batches of sparse sums of directions, with what all tokens have in common."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(
        torch.randn(DIRECTIONS, D_MODEL, generator=generator), dim=1
    )
    common = torch.randn(D_MODEL, generator=generator)
    drawn = []
    for _ in range(count):
        which = torch.randint(DIRECTIONS, (tokens, ACTIVE), generator=generator)
        sizes = 4 * torch.rand(tokens, ACTIVE, generator=generator)
        x = (directions[which] * sizes[..., None]).sum(1) + common
        drawn.append(x.to(device))
    return drawn


def plain(
    drawn: list[torch.Tensor], config: SaeTrainingConfig, device: torch.device
) -> tuple[list[float], list[float]]:
    """Train by automatic differentiation; give seconds and loss of each step."""
    sae = initial_sae(GivenBatches([x.cpu() for x in drawn[:1]]).first_images(), config, -2)
    sae = sae.to(device).requires_grad_(True)
    adam = torch.optim.Adam(sae.parameters(), lr=config.lr)
    silent = torch.zeros(sae.d_sae, dtype=torch.int32, device=device)
    times, curve = [], []
    for step, x in enumerate(drawn):
        start = now(device)
        normalise_decoder(sae.W_dec)
        found = losses(x, sae, silent > config.dead_feature_window, config)
        adam.zero_grad()
        found.total.backward()
        remove_parallel_gradient(sae.W_dec, sae.W_dec.grad)
        adam.param_groups[0]["lr"] = config.learning_rate(step)
        adam.step()
        silent.add_(1).masked_fill_(found.fired, 0)
        curve.append(float(found.total.detach()))
        times.append(now(device) - start)
    return times, curve


def ours(
    drawn: list[torch.Tensor],
    config: SaeTrainingConfig,
    device: torch.device,
    active: list[float],
) -> tuple[list[float], list[float]]:
    """Train by `train_sae`; give seconds and loss of each step, and add to `active` the last L0."""
    stamps = [0.0]

    def stream() -> Iterator[torch.Tensor]:
        yield drawn[0]
        stamps[0] = now(device)  # the first batch is asked for before the training begins
        yield from drawn[1:]

    def record(_: object) -> None:
        stamps.append(now(device))

    trained = train_sae(stream(), config, device=str(device), progress=record)
    times = [after - before for before, after in pairwise(stamps)]
    active.append(float(trained.history[-1]["l0"]))
    return times[1:], [float(each["loss"]) for each in trained.history]


def now(device: torch.device) -> float:
    """Give the time once all work so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> int:
    """Run the benchmark; the exit status says whether the bar is met on a processor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--d-sae", type=int, default=12_288)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens per step")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--l1", type=float, default=2e-3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--figure", type=Path, help="draw the loss curves")
    job = parser.parse_args()
    if job.threads:
        torch.set_num_threads(job.threads)
    device = resolve_device(job.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    print(f"{device} {name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    drawn = batches(job.steps, job.tokens, device)
    precise = SaeTrainingConfig(
        d_sae=job.d_sae, steps=job.steps, batch_tokens=job.tokens, lr=1e-3, warmup_steps=10,
        l1=job.l1, b_dec_init="mean", precision="float32", seed=0,
    )  # fmt: skip
    auto = SaeTrainingConfig.from_json(precise.to_json() | {"precision": "auto"}, "benchmark")
    active: list[float] = []
    found = {
        "plain PyTorch, float32": plain(drawn, precise, device),
        "ours, float32": ours(drawn, precise, device, active),
        f"ours, auto ({resolve_precision('auto', device)})": ours(drawn, auto, device, active),
    }
    base = found["plain PyTorch, float32"][0]
    print(f"{D_MODEL} → {job.d_sae:,}, {job.tokens:,} tokens a step, {job.steps} steps")
    print(f"{'':28}{'tokens/s':>10}{'ratio':>8}{'first':>8}{'last':>8}{'loss after':>12}")
    ratios = {}
    for name, (times, curve) in found.items():
        whole, first, last = (
            statistics.median(base[part]) / statistics.median(times[part])
            for part in (slice(None), slice(1, SHOWN), slice(-SHOWN, None))
        )
        ratios[name] = last
        speed = job.tokens / statistics.median(times)
        print(f"{name:28}{speed:10,.0f}{whole:8.2f}{first:8.2f}{last:8.2f}{curve[-1]:12.4f}")
    print(f"{active[0]:.0f} active concepts per token in the last step.")
    exact = [found[name][1] for name in list(found)[:2]]
    apart = max(abs(a - b) / a for a, b in zip(*exact, strict=True))
    print(f"The two float32 curves differ by {100 * apart:.3g} % at most.")
    if job.figure:
        draw({name: curve for name, (_, curve) in found.items()}, job.figure)
    met = max(ratios.values()) >= LEAST_RATIO
    if device.type == "cpu":
        print(f"bar: ≥ {LEAST_RATIO} with few active concepts: {'met' if met else 'NOT met'}")
    return 0 if met or device.type != "cpu" else 1


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """Lay the curves over each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for (name, curve), (style, width) in zip(
        curves.items(), (("-", 4.0), ("-", 1.5), (":", 1.5)), strict=True
    ):
        axes.plot(range(1, len(curve) + 1), curve, style, lw=width, label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    raise SystemExit(main())
