"""README.md of a bundle that `learn` made: data, choices, figures, in words.

Guarantees: every number is one of the record of the work or of the calibrated bundle.
Leaves out: pictures, which the page holds.
"""

from .progress import in_words


def markdown(facts):
    """The card of the bundle."""
    look, plan, best = facts.look, facts.plan, facts.best
    recipe, architecture = plan["recipe"], facts.manifest["provenance"]["architecture"]
    detector = best["detector"]
    line = ", ".join(f"{name} {value}" for name, value in recipe["line"].items() if value)
    height, width = facts.manifest["input"]["height"], facts.manifest["input"]["width"]
    return "\n".join(
        [
            f"# {facts.name}: model card",
            "",
            f"Made by `{facts.manifest['provenance']['learned_with']}`.",
            f"The page with pictures is [{facts.page}]({facts.page}).",
            "",
            f"**Data.** {look['pictures']} pictures of {look['parts']} different good parts, and "
            f"{facts.real_count} of real defects. {facts.counts['fit']} pictures were trained on, "
            f"{facts.counts['choose']} chosen with, and {facts.counts['threshold']} set the threshold; no part is "
            "on two sides.",
            *([f"{facts.odd_words}."] if look["odd"] else []),
            "",
            f"**Network.** {architecture}; input {width}x{height}x{facts.manifest['input']['channels']} px for "
            f"pictures of {look['size'][0]}x{look['size'][1]} px.",
            f"Seed {recipe['seed']}, {facts.training['steps']} steps of {recipe['batch']} pictures, "
            f"{in_words(facts.training['seconds'])} on {plan['machine']}.",
            f"Jitter, estimated from the pictures: {line or 'none'} ({look['jitter_why']}).",
            "",
            f"**Detector.** Noise sigma = {plan['sigma']} for the radius {plan['radius']:.4f}; "
            f"k = {detector['k']}, mean filter of {detector['filter_px']} px, mean of the "
            f"{detector['top_pixels']} largest values, head weight {detector['head_weight']}, "
            f"feature weight {detector['feature_weight']}: the best of "
            f"{1 + len(facts.others)} that were tried on held-back parts.",
            "",
            "**Figures**, on parts that were neither trained on nor chosen with:",
            "",
            "| | |",
            "|---|---|",
            *[f"| {name} | {value} |" for name, value in facts.figures()],
            "",
            "**Limits.** Synthetic defects are no real ones. A station of your own line says more.",
            *[f"* {doubt}" for doubt in facts.doubts],
            "",
        ]
    )
