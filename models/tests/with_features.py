"""A model with all three outputs, small enough for tests."""

import torch


class WithFeatures(torch.nn.Module):
    """A model, and beside it the distance of features of x_k to the nearest of a bank of three."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.features = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.bank = torch.nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(4)))

    def forward(self, x_k, k):
        f = self.features(x_k)
        product = torch.einsum("bchw,nc->bnhw", f, self.bank)
        square = (f**2).sum(dim=1, keepdim=True) - 2.0 * product + (self.bank**2).sum(dim=1).view(1, -1, 1, 1)
        distance = square.amin(dim=1, keepdim=True).clamp(min=1e-6).sqrt()
        return self.model(x_k, k)._replace(feature_distance=distance)


class OneTimestep(torch.nn.Module):
    """A model that is made for the timestep `k` and ignores the one that it is given."""

    def __init__(self, model, k):
        super().__init__()
        self.model, self.k = model, k

    def forward(self, x_k, k=None):
        return self.model(x_k, torch.full_like(x_k[:, 0, 0, 0], self.k, dtype=torch.int64))
