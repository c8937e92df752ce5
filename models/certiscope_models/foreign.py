"""Load denoisers that were trained elsewhere: a folder of a diffusers UNet2DModel, or an improved-diffusion checkpoint.

Supported are unconditional U-Nets that predict the noise, trained on [-1,1] with the linear schedule of 1000 steps.
A model with learned variance gives 2C channels; the first C are the noise, and the others are dropped.
The keys of a checkpoint of OpenAI's improved-diffusion are renamed to those of diffusers' UNet2DModel, which computes
the same function (a test compares it with a second implementation of the original).
Guarantees: everything else is refused by name: other schedules, respaced or shorter ones, class-conditional models,
models that predict x_start or v. A checkpoint with a key that is not used, or without one that is needed, is refused.
"""

import json
from pathlib import Path

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from . import Refused, schedule
from .prediction import Prediction

MULTIPLIERS = {256: (1, 1, 2, 2, 4, 4), 64: (1, 2, 3, 4), 32: (1, 2, 2, 2)}  # improved-diffusion, by image_size

# the defaults of improved-diffusion (script_util.model_and_diffusion_defaults)
IMPROVED_DEFAULTS = {
    "image_size": 64,
    "in_channels": 3,
    "num_channels": 128,
    "num_res_blocks": 2,
    "num_heads": 4,
    "num_heads_upsample": -1,
    "attention_resolutions": "16,8",
    "learn_sigma": False,
    "class_cond": False,
    "diffusion_steps": 1000,
    "noise_schedule": "linear",
    "timestep_respacing": "",
    "predict_xstart": False,
    "use_scale_shift_norm": True,
}
# flags that matter in training only
IMPROVED_IGNORED = {"dropout", "sigma_small", "use_kl", "rescale_timesteps", "rescale_learned_sigmas", "use_checkpoint"}


class NoiseOnly(nn.Module):
    """A UNet2DModel as a model of this package. It predicts the noise only; channels of learned variance are left out."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x_k, k):
        return Prediction(self.unet(x_k, k, return_dict=False)[0][:, : self.unet.config.in_channels])


def require(found, key, wanted, where):
    """Refuse `found`, the value of the setting `key`, unless it is `wanted`, the only value that a bundle can have."""
    if found != wanted:
        raise Refused(f"{where}.{key} = {found!r}: a bundle cannot have it; {wanted!r} is needed")


def from_diffusers(folder, schedule_is_linear=False):
    """Return (model, channels, height, width) of a folder that `save_pretrained` wrote, of a pipeline or of a U-Net.

    The schedule is read from scheduler/scheduler_config.json. The folder of a U-Net alone has no such file; then
    `schedule_is_linear` must be given by someone who knows the schedule.
    """
    folder = Path(folder)
    unet_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    beside = [unet_folder.parent / "scheduler", unet_folder]
    configs = [d / "scheduler_config.json" for d in beside if (d / "scheduler_config.json").exists()]
    if configs:
        config = json.loads(configs[0].read_text())
        require(config.get("num_train_timesteps", 1000), "num_train_timesteps", schedule.STEPS, "scheduler")
        require(config.get("beta_schedule", "linear"), "beta_schedule", "linear", "scheduler")
        require(config.get("beta_start", schedule.BETA_FIRST), "beta_start", schedule.BETA_FIRST, "scheduler")
        require(config.get("beta_end", schedule.BETA_LAST), "beta_end", schedule.BETA_LAST, "scheduler")
        require(config.get("prediction_type", "epsilon"), "prediction_type", "epsilon", "scheduler")
        require(config.get("trained_betas"), "trained_betas", None, "scheduler")
    elif not schedule_is_linear:
        raise Refused(
            f"scheduler: {folder}: no scheduler_config.json; add it, or give --schedule-is-linear if you know it is"
        )
    try:
        unet = UNet2DModel.from_pretrained(unet_folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise Refused(
            f"diffusers: {unet_folder}: no UNet2DModel: {error}; a folder written by save_pretrained is needed"
        ) from None
    require(unet.config.num_class_embeds, "num_class_embeds", None, "unet")
    require(unet.config.class_embed_type, "class_embed_type", None, "unet")
    size = unet.config.sample_size
    if size is None:
        raise Refused("unet.sample_size: not set: the input size is unknown; add sample_size to its config.json")
    height, width = (size, size) if isinstance(size, int) else size
    return NoiseOnly(unet).eval(), unet.config.in_channels, height, width


def from_improved_diffusion(checkpoint, config):
    """Return (model, channels, height, width) of an improved-diffusion checkpoint.

    `checkpoint` is a .pt file with a state dict. `config` holds the command-line flags of its training; flags that are
    missing have the defaults of improved-diffusion.
    """
    unknown = set(config) - set(IMPROVED_DEFAULTS) - IMPROVED_IGNORED
    if unknown:
        raise Refused(f"improved-diffusion: {sorted(unknown)}: unknown flags; allowed: {sorted(IMPROVED_DEFAULTS)}")
    flags = {**IMPROVED_DEFAULTS, **config}
    require(flags["noise_schedule"], "noise_schedule", "linear", "improved-diffusion")
    require(flags["diffusion_steps"], "diffusion_steps", schedule.STEPS, "improved-diffusion")
    require(flags["timestep_respacing"], "timestep_respacing", "", "improved-diffusion")
    require(flags["class_cond"], "class_cond", False, "improved-diffusion")
    require(flags["predict_xstart"], "predict_xstart", False, "improved-diffusion")
    size = flags["image_size"]
    if size not in MULTIPLIERS:
        raise Refused(f"improved-diffusion.image_size = {size}: no such model; allowed: {sorted(MULTIPLIERS)}")

    unet = empty_unet(flags)
    try:
        theirs = torch.load(checkpoint, weights_only=True, map_location="cpu")
        unet.load_state_dict(renamed(theirs, unet, flags), strict=True)
    except (OSError, RuntimeError, KeyError, AttributeError) as error:
        raise Refused(
            f"improved-diffusion: {checkpoint}: does not fit its flags: {error}; use the flags of its training"
        ) from None
    return NoiseOnly(unet).eval(), flags["in_channels"], size, size


def heads_of(flags):
    """The number of attention heads (in the down blocks, in the up blocks)."""
    up = flags["num_heads_upsample"]
    return flags["num_heads"], flags["num_heads"] if up == -1 else up


def empty_unet(flags):
    """A UNet2DModel with the shape of the improved-diffusion U-Net that has these flags; its weights are random."""
    size, multipliers = flags["image_size"], MULTIPLIERS[flags["image_size"]]
    attended = {int(r) for r in str(flags["attention_resolutions"]).split(",")}
    attends = [size // 2**level in attended for level in range(len(multipliers))]
    unet = UNet2DModel(
        sample_size=size,
        in_channels=flags["in_channels"],
        out_channels=flags["in_channels"] * (2 if flags["learn_sigma"] else 1),
        layers_per_block=flags["num_res_blocks"],
        block_out_channels=tuple(flags["num_channels"] * m for m in multipliers),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=None,
        attn_norm_num_groups=32,  # the attention in the middle is always normalised in 32 groups
        resnet_time_scale_shift="scale_shift" if flags["use_scale_shift_norm"] else "default",
    )
    down, up = heads_of(flags)
    for name, module in unet.named_modules():
        if isinstance(module, Attention):  # diffusers sets the width of a head, improved-diffusion the number of heads
            module.heads = up if name.startswith("up_blocks") else down
            module.scale = (module.inner_dim // module.heads) ** -0.5
    return unet


def renamed(theirs, unet, flags):
    """The improved-diffusion state dict `theirs` with the key names of `unet`.

    Raises a KeyError that names a key that is missing or not used.
    """
    left = dict(theirs)
    ours = {}

    def move(source, target):
        for part in ("weight", "bias"):
            ours[f"{target}.{part}"] = left.pop(f"{source}.{part}")

    def move_resnet(source, target, module):
        move(f"{source}.in_layers.0", f"{target}.norm1")
        move(f"{source}.in_layers.2", f"{target}.conv1")
        move(f"{source}.emb_layers.1", f"{target}.time_emb_proj")
        move(f"{source}.out_layers.0", f"{target}.norm2")
        move(f"{source}.out_layers.3", f"{target}.conv2")
        if module.conv_shortcut is not None:
            move(f"{source}.skip_connection", f"{target}.conv_shortcut")

    def move_attention(source, target, heads):
        move(f"{source}.norm", f"{target}.group_norm")
        for part in ("weight", "bias"):  # rows are ordered head, then q/k/v, then channel
            qkv = left.pop(f"{source}.qkv.{part}")
            qkv = qkv.reshape(heads, 3, qkv.shape[0] // (3 * heads), *qkv.shape[1:2])
            for n, name in enumerate(("to_q", "to_k", "to_v")):
                ours[f"{target}.{name}.{part}"] = qkv[:, n].flatten(0, 1)
        ours[f"{target}.to_out.0.weight"] = left.pop(f"{source}.proj_out.weight").squeeze(-1)
        ours[f"{target}.to_out.0.bias"] = left.pop(f"{source}.proj_out.bias")

    down, up = heads_of(flags)
    move("time_embed.0", "time_embedding.linear_1")
    move("time_embed.2", "time_embedding.linear_2")
    move("input_blocks.0.0", "conv_in")
    at = 1
    for level, block in enumerate(unet.down_blocks):
        for i, resnet in enumerate(block.resnets):
            move_resnet(f"input_blocks.{at}.0", f"down_blocks.{level}.resnets.{i}", resnet)
            if hasattr(block, "attentions"):
                move_attention(f"input_blocks.{at}.1", f"down_blocks.{level}.attentions.{i}", down)
            at += 1
        if block.downsamplers is not None:
            move(f"input_blocks.{at}.0.op", f"down_blocks.{level}.downsamplers.0.conv")
            at += 1
    for i, resnet in enumerate(unet.mid_block.resnets):
        move_resnet(f"middle_block.{2 * i}", f"mid_block.resnets.{i}", resnet)
    move_attention("middle_block.1", "mid_block.attentions.0", down)
    at = 0
    for level, block in enumerate(unet.up_blocks):
        attends = hasattr(block, "attentions")
        for i, resnet in enumerate(block.resnets):
            move_resnet(f"output_blocks.{at}.0", f"up_blocks.{level}.resnets.{i}", resnet)
            if attends:
                move_attention(f"output_blocks.{at}.1", f"up_blocks.{level}.attentions.{i}", up)
            at += 1
        if block.upsamplers is not None:
            move(f"output_blocks.{at - 1}.{2 if attends else 1}.conv", f"up_blocks.{level}.upsamplers.0.conv")
    move("out.0", "conv_norm_out")
    move("out.2", "conv_out")
    if left:
        raise KeyError(f"{sorted(left)[:3]} and {max(0, len(left) - 3)} more keys are not used")
    return ours
