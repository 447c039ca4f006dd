"""The written-out gradient of DISTS and the feature distance is the one that autograd finds."""

import torch
from torch import Tensor

from seesr.metrics.dists import Dists, L2Pool
from seesr.training.feature_distances import TrainingPool, stage_distances
from seesr.training.losses import PerceptualLoss, normalise


def plain(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
    var_x, var_y = x.var((2, 3), unbiased=False), y.var((2, 3), unbiased=False)
    covariance = (x * y).mean((2, 3)) - mean_x * mean_y
    texture = (2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6)
    structure = (2 * covariance + 1e-6) / (var_x + var_y + 1e-6)
    return (alpha * texture + beta * structure).sum(1), (normalise(x) - normalise(y)).square().sum(1).mean()


def test_values_and_gradients_of_a_stage() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, 5, 6, 7, generator=generator) ** 3 for _ in range(2))
    x[:, 1], y[0, :, 2, 3] = 0, 0  # a dead channel and a dead position
    alpha, beta, weights = (torch.rand(size, generator=generator) for size in (5, 5, 2))
    gradients = []
    values = []
    for distances in (stage_distances, plain):
        leaf = x.clone().requires_grad_()
        similarity, distance = distances(leaf, y, alpha, beta)
        ((weights * similarity).sum() + 3 * distance).backward()
        gradients.append(leaf.grad)
        values.append((similarity.detach(), distance.detach()))
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


def test_the_loss_is_dists() -> None:
    loss = PerceptualLoss()
    x, y = (torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    perception = loss(leaf, y)
    expected = Dists()(other, y).mean()
    torch.testing.assert_close(perception.dists, expected, rtol=1e-4, atol=1e-5)
    perception.dists.backward()
    expected.backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-2, atol=1e-6)


def test_the_training_pool_is_the_metrics() -> None:
    x = torch.rand(2, 4, 8, 10, generator=torch.Generator().manual_seed(3))
    weights = torch.rand(2, 4, 4, 5, generator=torch.Generator().manual_seed(4))
    gradients = []
    for pool in (TrainingPool(4), L2Pool(4)):
        leaf = x.clone().requires_grad_()
        pooled = pool(leaf)
        (pooled * weights).sum().backward()
        gradients.append((pooled.detach(), leaf.grad))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert TrainingPool(4)(x[..., :7, :]).shape == (2, 4, 4, 5)
