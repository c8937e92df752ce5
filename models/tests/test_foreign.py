"""Other people's checkpoints: loaded exactly, or refused by name."""

import math

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch.nn import functional as F

from certiscope_models import Refused, onnx_graph
from certiscope_models.foreign import MULTIPLIERS, from_diffusers, from_improved_diffusion

FLAGS = {
    "image_size": 32,
    "in_channels": 1,
    "num_channels": 32,
    "num_res_blocks": 1,
    "num_heads": 2,
    "attention_resolutions": "16,8",
}


class OriginalUNet:
    """OpenAI's improved-diffusion U-Net, implemented again over a raw state dict, to compare the renamed one with.

    Written from the published architecture; it shares nothing with certiscope_models.foreign.
    """

    def __init__(self, w, flags):
        self.w, self.heads, self.scale_shift = w, flags["num_heads"], flags["use_scale_shift_norm"]
        self.width = flags["num_channels"]

    def conv(self, name, h, stride=1):
        weight = self.w[f"{name}.weight"]
        return F.conv2d(h, weight, self.w[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def linear(self, name, h):
        return F.linear(h, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name, h):
        return F.group_norm(h, 32, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def resnet(self, name, h, emb):
        out = self.conv(f"{name}.in_layers.2", F.silu(self.norm(f"{name}.in_layers.0", h)))
        shift = self.linear(f"{name}.emb_layers.1", F.silu(emb))[..., None, None]
        if self.scale_shift:
            scale, shift = shift.chunk(2, dim=1)
            out = self.norm(f"{name}.out_layers.0", out) * (1 + scale) + shift
        else:
            out = self.norm(f"{name}.out_layers.0", out + shift)
        out = self.conv(f"{name}.out_layers.3", F.silu(out))
        return out + (self.conv(f"{name}.skip_connection", h) if f"{name}.skip_connection.weight" in self.w else h)

    def attention(self, name, h):
        b, c, *places = h.shape
        flat = h.reshape(b, c, -1)
        qkv = F.conv1d(self.norm(f"{name}.norm", flat), self.w[f"{name}.qkv.weight"], self.w[f"{name}.qkv.bias"])
        q, k, v = qkv.reshape(b * self.heads, 3 * c // self.heads, -1).chunk(3, dim=1)
        weight = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / math.sqrt(c // self.heads), dim=-1)
        mixed = torch.einsum("bts,bcs->bct", weight, v).reshape(b, c, -1)
        out = F.conv1d(mixed, self.w[f"{name}.proj_out.weight"], self.w[f"{name}.proj_out.bias"])
        return (flat + out).reshape(b, c, *places)

    def block(self, name, h, emb):
        """One entry of input_blocks, middle_block or output_blocks: its layers in order, known by their keys."""
        for i in range(3):
            layer = f"{name}.{i}"
            if f"{layer}.in_layers.0.weight" in self.w:
                h = self.resnet(layer, h, emb)
            elif f"{layer}.qkv.weight" in self.w:
                h = self.attention(layer, h)
            elif f"{layer}.op.weight" in self.w:
                h = self.conv(f"{layer}.op", h, stride=2)
            elif f"{layer}.conv.weight" in self.w:
                h = self.conv(f"{layer}.conv", h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
            elif f"{layer}.weight" in self.w:
                h = self.conv(layer, h)
        return h

    def count(self, blocks):
        return 1 + max(int(name.split(".")[1]) for name in self.w if name.startswith(f"{blocks}."))

    def __call__(self, x, k):
        frequencies = torch.exp(-math.log(10000) * torch.arange(self.width // 2) / (self.width // 2))
        angles = k[:, None].float() * frequencies
        emb = torch.cat([angles.cos(), angles.sin()], dim=-1)
        emb = self.linear("time_embed.2", F.silu(self.linear("time_embed.0", emb)))
        h, skips = x, []
        for n in range(self.count("input_blocks")):
            h = self.block(f"input_blocks.{n}", h, emb)
            skips.append(h)
        h = self.block("middle_block", h, emb)
        for n in range(self.count("output_blocks")):
            h = self.block(f"output_blocks.{n}", torch.cat([h, skips.pop()], dim=1), emb)
        return self.conv("out.2", F.silu(self.norm("out.0", h)))


def original_weights(flags):
    """A random state dict with the keys and shapes of an improved-diffusion U-Net of these flags."""
    generator = torch.Generator().manual_seed(0)
    weights = {}

    def put(name, *shape):
        fan_in = math.prod(shape[1:])
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / math.sqrt(fan_in)
        weights[f"{name}.bias"] = torch.randn(shape[:1], generator=generator) * 0.1

    def put_norm(name, c):
        weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(c, generator=generator)
        weights[f"{name}.bias"] = 0.1 * torch.randn(c, generator=generator)

    def put_resnet(name, c_in, c_out):
        put_norm(f"{name}.in_layers.0", c_in)
        put(f"{name}.in_layers.2", c_out, c_in, 3, 3)
        put(f"{name}.emb_layers.1", c_out * (2 if flags["use_scale_shift_norm"] else 1), 4 * width)
        put_norm(f"{name}.out_layers.0", c_out)
        put(f"{name}.out_layers.3", c_out, c_out, 3, 3)
        if c_in != c_out:
            put(f"{name}.skip_connection", c_out, c_in, 1, 1)

    def put_attention(name, c):
        put_norm(f"{name}.norm", c)
        put(f"{name}.qkv", 3 * c, c, 1)
        put(f"{name}.proj_out", c, c, 1)

    width, channels = flags["num_channels"], flags["in_channels"]
    multipliers = MULTIPLIERS[flags["image_size"]]
    attended = [flags["image_size"] // int(r) for r in flags["attention_resolutions"].split(",")]
    put("time_embed.0", 4 * width, width)
    put("time_embed.2", 4 * width, 4 * width)
    put("input_blocks.0.0", width, channels, 3, 3)
    at, c, skips = 1, width, [width]
    for level, multiplier in enumerate(multipliers):
        for _ in range(flags["num_res_blocks"]):
            put_resnet(f"input_blocks.{at}.0", c, multiplier * width)
            c = multiplier * width
            if 2**level in attended:
                put_attention(f"input_blocks.{at}.1", c)
            skips.append(c)
            at += 1
        if level + 1 < len(multipliers):
            put(f"input_blocks.{at}.0.op", c, c, 3, 3)
            skips.append(c)
            at += 1
    put_resnet("middle_block.0", c, c)
    put_attention("middle_block.1", c)
    put_resnet("middle_block.2", c, c)
    at = 0
    for level in reversed(range(len(multipliers))):
        for i in range(flags["num_res_blocks"] + 1):
            put_resnet(f"output_blocks.{at}.0", c + skips.pop(), multipliers[level] * width)
            c = multipliers[level] * width
            attends = 2**level in attended
            if attends:
                put_attention(f"output_blocks.{at}.1", c)
            if level and i == flags["num_res_blocks"]:
                put(f"output_blocks.{at}.{2 if attends else 1}.conv", c, c, 3, 3)
            at += 1
    put_norm("out.0", c)
    put("out.2", channels * (2 if flags["learn_sigma"] else 1), c, 3, 3)
    return weights


@pytest.mark.parametrize("learn_sigma", [False, True])
@pytest.mark.parametrize("scale_shift", [False, True])
def test_improved_diffusion_computes_the_same_noise(tmp_path, learn_sigma, scale_shift):
    flags = {**FLAGS, "learn_sigma": learn_sigma, "use_scale_shift_norm": scale_shift}
    weights = original_weights(flags)
    torch.save(weights, tmp_path / "ema.pt")
    model, channels, height, width = from_improved_diffusion(tmp_path / "ema.pt", flags)
    assert (channels, height, width) == (1, 32, 32)
    x, k = torch.randn(2, 1, 32, 32), torch.tensor([0, 77])
    with torch.no_grad():
        wanted = OriginalUNet(weights, flags)(x, k)[:, :1]
        got = model(x, k).eps_hat
    assert got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_improved_diffusion_survives_export(tmp_path):
    flags = {**FLAGS, "learn_sigma": True, "use_scale_shift_norm": True}
    torch.save(original_weights(flags), tmp_path / "ema.pt")
    model, *shape = from_improved_diffusion(tmp_path / "ema.pt", flags)
    onnx_graph.round_to_fp16(model)
    content = onnx_graph.to_onnx(model, *shape).SerializeToString()
    assert onnx_graph.verify(content, model, *shape) <= 1e-4


@pytest.mark.parametrize(
    "setting",
    [
        {"noise_schedule": "cosine"},
        {"diffusion_steps": 4000},
        {"timestep_respacing": "250"},
        {"class_cond": True},
        {"predict_xstart": True},
        {"image_size": 48},
        {"num_chanels": 32},
    ],
)
def test_improved_diffusion_that_no_bundle_can_be_is_refused(tmp_path, setting):
    with pytest.raises(Refused, match=next(iter(setting))):
        from_improved_diffusion(tmp_path / "unread.pt", {**FLAGS, **setting})


def test_a_checkpoint_with_a_stray_or_missing_key_is_refused(tmp_path):
    flags = {**FLAGS, "learn_sigma": False, "use_scale_shift_norm": True}
    weights = original_weights(flags)
    torch.save({**weights, "label_emb.weight": torch.zeros(10, 128)}, tmp_path / "stray.pt")
    del weights["out.2.bias"]
    torch.save(weights, tmp_path / "missing.pt")
    for name, key in (("stray.pt", "label_emb"), ("missing.pt", "out.2.bias")):
        with pytest.raises(Refused, match=key):
            from_improved_diffusion(tmp_path / name, flags)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=2,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    ).eval()


def test_a_diffusers_pipeline_is_loaded(tmp_path, unet):
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "theirs")
    model, channels, height, width = from_diffusers(tmp_path / "theirs")
    assert (channels, height, width) == (1, 16, 16)
    x, k = torch.randn(2, 1, 16, 16), torch.tensor([1, 99])
    with torch.no_grad():
        torch.testing.assert_close(model(x, k).eps_hat, unet(x, k).sample[:, :1])
    onnx_graph.round_to_fp16(model)
    content = onnx_graph.to_onnx(model, 1, 16, 16).SerializeToString()
    assert onnx_graph.verify(content, model, 1, 16, 16) <= 1e-4


def test_a_unet_without_a_scheduler_file_needs_the_option(tmp_path, unet):
    unet.save_pretrained(tmp_path / "bare")
    with pytest.raises(Refused, match="schedule-is-linear"):
        from_diffusers(tmp_path / "bare")
    assert from_diffusers(tmp_path / "bare", schedule_is_linear=True)[1:] == (1, 16, 16)


@pytest.mark.parametrize(
    "setting",
    [{"beta_schedule": "squaredcos_cap_v2"}, {"num_train_timesteps": 500}, {"prediction_type": "v_prediction"}],
)
def test_another_schedule_is_refused(tmp_path, unet, setting):
    DDPMPipeline(unet, DDPMScheduler(**setting)).save_pretrained(tmp_path / "theirs")
    with pytest.raises(Refused, match=next(iter(setting))):
        from_diffusers(tmp_path / "theirs")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(Refused, match="no UNet2DModel"):
        from_diffusers(tmp_path, schedule_is_linear=True)
