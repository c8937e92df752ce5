"""The losses, computed by hand for a model whose outputs the test chooses."""

import pytest
import torch

from certiscope_models import schedule
from certiscope_models.objective import Weights, losses, pooled, x_k_of
from certiscope_models.prediction import Prediction


class Fixed:
    """A model that predicts the given noise and a constant defect map."""

    def __init__(self, eps, logit):
        self.eps, self.logit = eps, logit

    def __call__(self, x_k, k):
        return Prediction(self.eps, self.logit.expand(len(x_k), 1, *x_k.shape[2:]))


def batch(change):
    normal = torch.full((2, 1, 16, 16), 0.5)
    changed, mask = normal.clone(), torch.zeros_like(normal)
    changed[0, 0, 4:8, 4:8] += change
    mask[0, 0, 4:8, 4:8] = 1.0 if change else 0.0
    eps = torch.randn((2, *normal.shape), generator=torch.Generator().manual_seed(0))
    return normal, changed, mask, torch.tensor([20, 40]), eps


def terms(change, logit=-9.0, shift=0.0):
    normal, changed, mask, k, eps = batch(change)
    model = Fixed(eps.flatten(0, 1) + shift, torch.tensor(logit))
    return losses(model, Weights(), normal, changed, mask, k, eps)


def test_x_k_holds_signal_and_noise_of_its_timestep():
    x, eps = torch.full((2, 1, 4, 4), 0.75), torch.ones(2, 1, 4, 4)
    x_k, signal, noise = x_k_of(x, torch.tensor([0, 100]), eps)
    for n, k in enumerate((0, 100)):
        a = schedule.alpha_bar(k)
        assert x_k[n, 0, 0, 0].item() == pytest.approx(a**0.5 * 0.5 + (1 - a) ** 0.5, rel=1e-6)
        assert (signal[n].item(), noise[n].item()) == pytest.approx((a**0.5, (1 - a) ** 0.5), rel=1e-6)


def test_a_perfect_denoiser_without_defects_has_only_the_losses_of_its_head():
    found = terms(0.0, logit=-20.0)
    assert found["noise"] == 0.0 and found["heal"] == 0.0 and found["consistency"] == 0.0
    assert found["pixel"] < 0.03 + 1e-6  # the dice of an empty mask: 1 - 1/(1 + 0)
    assert found["loss"] == pytest.approx(10 * found["pixel"].item() + 0.3 * found["picture"].item(), rel=1e-6)


def test_the_noise_loss_is_that_outside_the_defect():
    assert terms(0.3, shift=0.2)["noise"].item() == pytest.approx(0.04, rel=1e-4)


def test_keeping_a_defect_is_not_healing_it():
    # with the true noise the reconstruction is the changed picture: 2 x 0.3 off in [-1,1] units inside the mask
    assert terms(0.3)["heal"].item() == pytest.approx(0.36, rel=1e-3)


def test_the_kept_loss_is_that_of_the_draw_without_noise_defects_included():
    normal, changed, mask, k, eps = batch(0.3)
    for off in (0.0, 0.01):
        given = Prediction(eps.flatten(0, 1), denoised=changed.repeat(2, 1, 1, 1) + off)
        wanted = sum((2 * off) ** 2 / (1 / schedule.alpha_bar(int(n)) - 1) for n in k) / 2
        found = losses(lambda x_k, k, given=given: given, Weights(kept=3.0), normal, changed, mask, k, eps)
        assert found["kept"].item() == pytest.approx(wanted, rel=1e-3, abs=1e-9)
        assert found["loss"].item() == pytest.approx(3.0 * wanted, rel=1e-3, abs=1e-9)


def test_a_change_too_small_to_be_seen_does_not_count_in_the_picture_term():
    # |change| = 4 delta: at k = 20 the noise level is 0.039, so 0.04 cannot be seen and 0.1 can
    evident, hidden = terms(0.1, logit=-9.0)["picture"], terms(0.04, logit=-9.0)["picture"]
    assert evident > hidden + 0.5


def test_pooling_is_a_maximum_with_a_gradient_for_every_pixel():
    flat = torch.full((1, 1, 16, 16), -8.0)
    peak = flat.clone()
    peak[0, 0, 6:11, 6:11] = 8.0
    assert pooled(peak).item() == pytest.approx(8.0, abs=0.5)
    assert pooled(flat) < pooled(peak) - 10
    flat.requires_grad_()
    pooled(flat).sum().backward()
    assert (flat.grad > 0).all()
