"""The options that decide what is trained: from a command line to settings, and from settings back to the command.

Guarantees: `command` gives the options that lead to the same settings (tested). The `train` command and the ablation
tables use the same options.
Leaves out: folders and the device, which do not decide what is trained.
"""

from dataclasses import asdict, fields

from . import Refused
from .augment import Line
from .objective import Weights
from .recipe import Recipe
from .unet import NETWORKS, Architecture, multiple_of, sides


def numbers(text):
    """The type of an option that takes several whole numbers, such as 15,25,35."""
    return tuple(int(n) for n in text.split(","))


def add(parser):
    """Add the options to `parser`."""
    option = parser.add_argument
    option("--size", type=int, default=64, help="about SIZE x SIZE px of model input, with the pictures' aspect ratio")
    option("--height", type=int, help="height of the model input in px, in place of --size; --width is needed too")
    option("--width", type=int, help="width of the model input in px")
    option("--channels", type=int, default=1, choices=(1, 3))
    option("--network", default="edge", choices=NETWORKS, help="edge, made for a CPU, or the one of earlier versions")
    option("--unshuffle", type=int, default=2, help="pixel-unshuffle factor inside the graph")
    option("--base", type=int, default=32, help="channels of the first level")
    option("--multipliers", type=numbers, default=(1, 2, 3), help="width of each level over --base")
    option("--no-attention", dest="attention", action="store_false", help="of the diffusers network")
    option("--no-head", dest="head", action="store_false", help="predicted noise only, as in the paper")
    option("--no-denoised", dest="denoised", action="store_false", help="no output of the draw without its noise")
    option("--k-max", type=int, default=100, help="train at timesteps 0..k-max")
    option("--steps", type=int, required=True, help="length of the run and of its cosine")
    option("--batch", type=int, default=12)
    option("--lr", type=float, default=4e-4)
    option("--seed", type=int, default=1)
    option("--defects", type=float, default=0.6, help="share of pictures that get a synthetic defect")
    option("--flips", action="store_true", help="the product may be mirrored; leave out where its place is fixed")
    option("--shift", type=int, default=0, help="shift jitter in px of the model input")
    option("--turn", type=float, default=0.0, help="rotation jitter in degrees")
    option("--zoom", type=float, default=0.0, help="size jitter, e.g. 0.05")
    option("--crop", type=float, default=0.0, help="window jitter: share of the side left out, e.g. 0.15")
    option("--exposure", type=float, default=0.0, help="gain, offset and gamma jitter, e.g. 0.1")
    option("--light", type=float, default=0.0, help="jitter of the light from side to side, e.g. 0.2")
    add_of_pictures(option)
    for term in fields(Weights):
        option(f"--{term.name}", type=float, default=term.default, help=f"weight of the {term.name} loss")


def add_of_pictures(option):
    """The two options that say how a set of pictures is read; `split` and `export` have them too."""
    option("--full-scale", type=int, help="sample that means white in pictures of 16 bits, e.g. 4095 (default 65535)")
    option("--mixed-sizes", action="store_true", help="accept pictures of several sizes in one set")


def input_sides(arguments, aspect):
    """(height, width) of the model input for pictures `aspect` times as wide as high."""
    a = arguments
    if (a.height is None) != (a.width is None):
        raise Refused(f"train.height = {a.height}, train.width = {a.width}: give both, or --size alone")
    return (a.height, a.width) if a.height else sides(a.size, aspect, multiple_of(a.unshuffle, a.multipliers))


def settings(arguments, aspect=1.0):
    """(architecture, recipe) of parsed options, for pictures `aspect` times as wide as high."""
    a = arguments
    shape = input_sides(a, aspect)
    of_network = a.unshuffle, a.base, a.multipliers, a.attention, a.head, a.network, a.denoised
    architecture = Architecture(*shape, a.channels, *of_network)
    line = Line(a.flips, a.shift, a.turn, a.zoom, a.crop, a.exposure, a.light)
    weights = Weights(*(getattr(a, term.name) for term in fields(Weights)))
    defects = a.defects if a.head else 0.0
    return architecture, Recipe(
        *(a.steps, a.batch, a.lr, a.k_max, a.seed, defects, line, weights, a.full_scale, a.mixed_sizes)
    )


def command(architecture, recipe):
    """The `train` command with these settings, without its folders."""
    a, r = architecture, recipe
    words = {
        **{"height": a.height, "width": a.width, "channels": a.channels, "network": a.network},
        **{"unshuffle": a.unshuffle, "base": a.base},
        **{"multipliers": ",".join(map(str, a.multipliers)), "k-max": r.k_max, "steps": r.steps},
        **{"batch": r.batch, "lr": r.lr, "seed": r.seed, "defects": r.defects},
        **{name: value for name, value in asdict(r.line).items() if name != "flips"},
        **asdict(r.weights),
        **({"full-scale": r.full_scale} if r.full_scale is not None else {}),
    }
    switches = {
        **{"--no-attention": not a.attention, "--no-head": not a.head, "--no-denoised": not a.denoised},
        **{"--mixed-sizes": r.mixed_sizes, "--flips": r.line.flips},
    }
    options = [f"--{name} {value}" for name, value in words.items()]
    options += [name for name, on in switches.items() if on]
    return " ".join(["python -m certiscope_models train", *options])
