"""`certiscope-models learn`: from a folder of good parts to a calibrated bundle, in one command.

Reading order: `work` (the work folder, and what was done already) -> `look` (are these pictures fit to learn from?) ->
`parts` (which parts train, choose, and set the threshold) -> `jitter` (how good parts differ) -> `choices` (input
size, network, timesteps, noise) -> `budget` (how long it takes) -> `choose` (the search) -> `station` (the program
`certiscope`) -> `report`, `page`, `card` (what a person reads) -> `progress` (the bar) -> `stages` (all in order).

Guarantees: a command that was ended at any moment goes on where it was when it is typed again, and ends with the same
bundle. The folder of the bundle appears whole, or not at all. No part that sets the threshold was trained on or chosen
with.
Leaves out: how a threshold is computed (`certiscope calibrate` in Rust), and several GPUs.
"""
