"""DISTS and the distance of normalised features between two pictures' VGG stages, with a hand-written gradient.

Both are sums over a stage's features x and y that autograd would walk through some forty times; training on a CPU spent
two thirds of its time on that. For channel c and position p the gradient of any weighting of the two has the form

    dL/dx[c, p] = a[c] + (b[c] + d[p]) * x[c, p] + (e[c] + f[p]) * y[c, p],

a, b, e from the moments that DISTS compares (Ding et al. 2020, arXiv 2004.07728, equations 4 to 6), d and f from the
cosine between x and y at p, so one pass over the features is enough.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seesr.metrics.dists import L2Pool

_EPS = 1e-6  # c1 and c2 of DISTS
_TINY = 1e-8  # of the squared length of a position's features


def stage_distances(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """How the features of one stage differ; gradients reach x only.

    Args:
        x, y: (B, C, H, W). alpha, beta: (C,), DISTS' weights of means and of structure.

    Returns:
        DISTS' weighted similarity (B,), and the mean squared distance of their unit vectors ().
    """
    similarity, distance = _StageDistances.apply(x, y, alpha, beta)  # type: ignore[no-untyped-call]
    return similarity, distance


class _StageDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        x, y = (features.permute(0, 2, 3, 1).flatten(1, 2).float() for features in (x, y))  # (B, P, C)
        positions = x.shape[1]
        mean_x, mean_y = x.mean(1), y.mean(1)  # (B, C)
        product = x * x
        var_x, length_x = product.mean(1) - mean_x**2, product.sum(2) + _TINY  # (B, C), (B, P)
        torch.mul(y, y, out=product)
        var_y, length_y = product.mean(1) - mean_y**2, product.sum(2) + _TINY
        torch.mul(x, y, out=product)
        covariance, dot = product.mean(1) - mean_x * mean_y, product.sum(2)

        above, below = 2 * mean_x * mean_y + _EPS, mean_x**2 + mean_y**2 + _EPS
        similarity = (alpha * above / below).sum(1)
        mean_gradient = alpha * (2 * mean_y * below - 2 * mean_x * above) / below**2  # of similarity in mean_x
        above, below = 2 * covariance + _EPS, var_x + var_y + _EPS
        similarity = similarity + (beta * above / below).sum(1)
        e = beta * 2 / below / positions  # in the covariance, for each position
        b = -2 * beta * above / below**2 / positions  # in the variance
        a = mean_gradient / positions - b * mean_x - e * mean_y

        inverse = (length_x * length_y).rsqrt()
        count = dot.numel()
        squared = (
            (1 - _TINY / length_x) + (1 - _TINY / length_y) - 2 * dot * inverse
        )  # of the difference of unit vectors
        f = -2 * inverse / count
        d = 2 * (dot * inverse + _TINY / length_x) / length_x / count
        ctx.save_for_backward(x, y, a, b, e, d, f)
        return similarity, squared.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, y, a, b, e, d, f = ctx.saved_tensors
        of_similarity, of_distance = gradients
        a, b, e = (of_similarity[:, None, None] * part[:, None] for part in (a, b, e))  # (B, 1, C)
        d, f = (of_distance * part[..., None] for part in (d, f))  # (B, P, 1)
        gradient = (b + d).mul_(x).addcmul_(e + f, y).add_(a).to(ctx.dtype)
        batch, channels, height, width = ctx.shape
        gradient = gradient.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return gradient, None, None, None


class _HannPool(torch.autograd.Function):
    """`seesr.metrics.dists.L2Pool` of even sides, (B, C, H, W) -> (B, C, H/2, W/2), three times as fast on a CPU.

    A 3x3 convolution of each channel by itself is slow there, its gradient above all; as sums of every second row and
    column, first rows, then columns, it is not.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        squares = x.permute(0, 2, 3, 1).square()  # (B, H, W, C)
        rows = squares[:, 0::2] * 0.5
        rows.add_(squares[:, 1::2], alpha=0.25)
        rows[:, 1:].add_(squares[:, 1:-1:2], alpha=0.25)
        means = rows[:, :, 0::2] * 0.5
        means.add_(rows[:, :, 1::2], alpha=0.25)
        means[:, :, 1:].add_(rows[:, :, 1:-1:2], alpha=0.25)
        root = means.add_(1e-12).sqrt_()
        ctx.save_for_backward(x, root)
        return root.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, root = ctx.saved_tensors
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        batch, height, width, channels = x.shape
        of_mean = gradient.permute(0, 2, 3, 1) / root  # twice it, as of x**2
        of_rows = of_mean.new_empty(batch, height // 2, width, channels)
        of_rows[:, :, 0::2] = of_mean * 0.5
        of_rows[:, :, 1::2] = quarter = of_mean * 0.25
        of_rows[:, :, 1:-1:2].add_(quarter[:, :, 1:])
        of_x = of_mean.new_empty(batch, height, width, channels)
        of_x[:, 0::2] = of_rows * 0.5
        of_x[:, 1::2] = quarter = of_rows * 0.25
        of_x[:, 1:-1:2].add_(quarter[:, 1:])
        product: Tensor = of_x.mul_(x)
        return product.permute(0, 3, 1, 2)


class TrainingPool(L2Pool):
    """`L2Pool`, in the faster form where the sides are even."""

    def forward(self, x: Tensor) -> Tensor:
        even = x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
        if not even or x.device.type != "cpu":
            return super().forward(x)
        pooled: Tensor = _HannPool.apply(x)  # type: ignore[no-untyped-call]
        return pooled
