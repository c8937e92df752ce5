"""The state of a training run and one step of it: model, averaged weights, optimizer, random generator, checkpoint.

Guarantees: a run resumed from its checkpoint ends with the weights of a run that never stopped (same --steps, same
machine, on a CPU), since all of that state is in the checkpoint. The network computes in bfloat16 on a GPU and on CPUs
that multiply in it; everything else, and all of it on other CPUs, in float32.
Leaves out: the loop over steps (`train`), the pictures (`training_data`), several devices.
Costs: at 128x128, base 32, batch 8 about a third of a second of one core a step with bfloat16, and half a second
without; the network of earlier versions needs three times as much.
"""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from math import cos, pi
from pathlib import Path

import torch

from . import Refused
from .augment import Line
from .cuda_graph import RecordedStep
from .objective import Weights, losses
from .recipe import Recipe
from .train_options import command
from .unet import Architecture, build

# The averaged weights and the cosine are written out here, not taken from diffusers, because a resumed run must equal
# an uninterrupted one bit for bit, whatever a later version of diffusers does.
WARM_UP = 200  # steps of rising learning rate
EMA_DECAY = 0.999
WEIGHT_DECAY = 0.01
HELD_BACK = 96  # held-back pictures that the held-back losses are taken over


def multiplies_in_bfloat16():
    """Whether this CPU has instructions for products of bfloat16; without them it would be slower than float32."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("amx_tile"))


class Training:
    """One run: model, EMA weights, optimizer, generator and the number of steps done."""

    def __init__(self, architecture, recipe, device="cpu"):
        self.architecture, self.recipe, self.device = architecture, recipe, torch.device(device)
        torch.manual_seed(recipe.seed)
        self.on_gpu = self.device.type == "cuda"
        self.bfloat16 = self.on_gpu or multiplies_in_bfloat16()
        self.model = build(architecture).to(self.device, memory_format=torch.channels_last)
        self.ema = {name: w.detach().clone() for name, w in self.model.state_dict().items()}
        lr = torch.tensor(recipe.lr, device=self.device) if self.on_gpu else recipe.lr
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, fused=self.on_gpu, capturable=self.on_gpu
        )
        self.recorded = RecordedStep(self.optimize, lambda: self.optimizer.zero_grad(set_to_none=True))
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.done = 0
        self.seconds = 0.0  # spent in steps, over all resumes
        self.begun = None  # command of the run whose weights this one began with
        self.counts, self.saved_at = {}, None  # provenance: pictures and groups, date of the checkpoint
        self.pictures = {}  # what all of its pictures have in common: `PictureSet.kind`
        self.trained_on = torch.cuda.get_device_name(self.device) if self.on_gpu else "CPU"

    def learning_rate(self):
        progress = self.done / self.recipe.steps
        return self.recipe.lr * min(1.0, (self.done + 1) / WARM_UP) * 0.5 * (1.0 + cos(pi * progress))

    def noised(self, batch, generator):
        """The batch with timesteps [B] and noise [2, B, C, H, W] drawn for it."""
        normal = batch[0]
        k = torch.randint(self.recipe.k_max + 1, (len(normal),), generator=generator, device=self.device)
        return *batch, k, torch.randn((2, *normal.shape), generator=generator, device=self.device)

    def losses(self, model, noised):
        """The objective's terms by name."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
            return losses(model, self.recipe.weights, *noised)

    def optimize(self, noised):
        """One step of the optimizer; returns the losses [terms], detached."""
        self.optimizer.zero_grad(set_to_none=True)
        found = self.losses(self.model, noised)
        found["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.terms = tuple(found)
        return torch.stack([value.detach() for value in found.values()])

    def step(self, batch):
        """One step on a batch of pictures; returns its losses [terms], still on the device."""
        noised = self.noised(batch, self.generator)
        if self.on_gpu:
            self.optimizer.param_groups[0]["lr"].fill_(self.learning_rate())
            found = self.recorded(noised)
        else:
            self.optimizer.param_groups[0]["lr"] = self.learning_rate()
            found = self.optimize(noised)
        self.done += 1
        decay = min(EMA_DECAY, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.values()), list(self.model.state_dict().values()), 1.0 - decay)
        return found

    def ema_model(self):
        """A separate copy of the model that carries the averaged weights, ready to evaluate."""
        with torch.random.fork_rng(devices=[]):  # building draws weights: an evaluation must not change a run
            model = build(self.architecture)
        model.load_state_dict(self.ema)
        return model.eval().to(self.device)

    @torch.no_grad()
    def held_back_losses(self, pictures):
        """The losses of the averaged weights; each time over the same defects, timesteps and noises."""
        generator = torch.Generator(self.device).manual_seed(0)
        model = self.ema_model()
        found = []
        for _ in range(max(1, HELD_BACK // self.recipe.batch)):
            batch = pictures.batch(self.recipe, generator)
            found.append(torch.stack(list(self.losses(model, self.noised(batch, generator)).values())))
        return torch.stack(found).mean(dim=0).tolist()

    def save(self, path):
        """Write the checkpoint in one move, so that an interruption leaves the old one whole."""
        state = {
            "architecture": asdict(self.architecture),
            "recipe": asdict(self.recipe),
            "done": self.done,
            "seconds": self.seconds,
            "trained_on": self.trained_on,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "counts": self.counts,
            "pictures": self.pictures,
            "begun": self.begun,
            "saved_at": datetime.now(UTC).date().isoformat(),
        }
        partial = path.with_suffix(".partial")
        try:
            torch.save(state, partial)
            os.replace(partial, path)
        except (OSError, RuntimeError) as error:  # PyTorch raises the second where the disk is full
            partial.unlink(missing_ok=True)
            earlier = "; the earlier one is whole, and --resume continues from it" if path.exists() else ""
            raise Refused(f"checkpoint: {path}: cannot be written: {str(error).splitlines()[0]}{earlier}") from None

    @classmethod
    def load(cls, path, device="cpu"):
        """The run saved at `path`. One that began on another kind of device continues with fresh randomness."""
        if not Path(path).exists():
            raise Refused(f"checkpoint: {path}: not there; give the folder of a training run")
        state = torch.load(path, weights_only=True, map_location="cpu")
        recipe = dict(state["recipe"])
        recipe |= {"line": Line(**recipe["line"]), "weights": Weights(**recipe["weights"])}
        training = cls(Architecture.stored(state["architecture"]), Recipe(**recipe), device)
        training.model.load_state_dict(state["model"])
        training.ema = {name: weight.to(training.device) for name, weight in state["ema"].items()}
        of_this_device = {name: training.optimizer.param_groups[0][name] for name in ("lr", "fused", "capturable")}
        state["optimizer"]["param_groups"][0].update(of_this_device)
        training.optimizer.load_state_dict(state["optimizer"])
        if len(state["generator"]) == len(training.generator.get_state()):
            training.generator.set_state(state["generator"])
        training.done, training.seconds = state["done"], state["seconds"]
        training.counts, training.saved_at = state["counts"], state["saved_at"]
        training.pictures = state.get("pictures", {})  # an earlier version did not keep it
        training.trained_on, training.begun = state["trained_on"], state.get("begun")
        return training

    @classmethod
    def begun_with(cls, path, recipe, device="cpu"):
        """A new run by `recipe` from the averaged weights of the run saved at `path`."""
        earlier = cls.load(path)
        training = cls(earlier.architecture, recipe, device)
        training.model.load_state_dict(earlier.ema)
        training.ema = {name: weight.to(training.device) for name, weight in earlier.ema.items()}
        training.begun = command(earlier.architecture, earlier.recipe)
        return training
