"""Recorded play: our own buttons, found by exploring from saved states with random actions.

An agent step is a letter, `a` to `j` for the actions 0 to 9 of the set "a3g", and how often it comes if not once. They
are played from the first step of an episode with `**REPLAY`, and take the same course on every engine.
"""

import re

REPLAY = {"noop_max": 0, "time_per_stage": 400}


def actions(recording: str) -> list[int]:
    """The actions of a recording, one an agent step."""
    runs = re.findall(r"([a-j])(\d*)", recording)
    return [ord(letter) - ord("a") for letter, count in runs for _ in range(int(count or 1))]


# 1-1: over all pits to the flagpole.
FLAGPOLE_1_1 = (
    "h3c11e8ih3j4f6e3f3gd5hc9a4e12fe15j7e2b6e6g2bed2c3g5ed4e9f7ih9bc2d9e5i2ef3e8d7e14d6i4f9b2df4j2fjb2d10e3ibe2de3b4e9f11"
    "je11b8e4ch5e4d6e2f12b3e10d2e3c2e9j9e4d8e8c2bdb2e8b13fe8j4e3b2d3e9c6b2e2f8e3h4jeg3e2a2e6hb2f3c9g2d2e7di3ge7d2c6he5"
)

# 1-1: down the fourth pipe into the bonus room, and out of it, further on, by its pipe.
PIPE_1_1 = (
    "h3c11e8ih3j4f6e3f3gd5hc9a4e12fe15j7e2b6e6g2bed2c3g5ed4e9f7ih9bc2d9e5i2ef3e8d5bd4e8cj4e3c4i3e4b5c4e6d6cg2e4d8i2a3e9d5"
    "bj4i10e3c2f2e4"
)

# 1-1: past the pipes into the first pit.
PIT_1_1 = "h3c11e8ih3j4f6e3f3gd5hc9a4e12fe15j7e2b6e6g2bed2c3g5ed4e9f7ih9bc2d9e5i2ef3e8d7e7b3d21"

# 1-2: over the ceiling into the warp zone, and down its middle pipe to 3-1.
WARP_1_2 = (
    "cd3ed2e10jd6e12d5ebj3e9dg3e17d9e3d4ie2h9e12de5d5b2a3de4d3g3h5e15b2e4db4ed2b2j2d5eb14ef2cd7e5c9g2e16gd5ie12j2e2ce3cb4"
    "i6eb2a9gb5f3b4f2e6g5fb4e3d3e2c2e5ga2e3d4e2j5a2c5i3bc5de11cdec2e8cd2ec4e2d3e6d5e9c5d2id5e3h7e5a3e2c2h2e5d11e2h8edhe2c"
    "4j"
)

# 1-4: past Bowser to the axe.
AXE_1_4 = (
    "h3c11e6j2f2g2a4f2d6ebdid8e2g7e3i2e5h2e10g2e5g2c5bc5d9b2de2b3c2e20f3ab5e12d6i4f7id6b2d5ef3e6c3e8ae2c5e9h3e2d3c3f4e8f4"
    "d10e3ci2c2ed2"
)

# 4-4: both right turns, and the axe.
MAZE_4_4 = (
    "h3c2d5hcie2bh3e2b2d5he12b7e5f4e10g4e8i2ef3e8d9e14ce15a3d10a5ec4e5d3e6d6g7e3b4e2bh2ea5c7a3fhd4e5d2b2g5fe5g3ei6a2d2e4d"
    "7e2ce20dec2dfc11d8e9ba3e4heh2d7ed6ca6e11f3e2f5i2d4e3h2j2i2e2d20bc5b12cef2e3fe8f3d2c3fc4e2"
)

# 4-4: the lower, wrong way, up to where the maze throws Mario back.
WRONG_TURN_4_4 = "h3c2d5hcie2bh3e2b2d5he13d7g2e13c5e6j4e10f2de5b5ei8dh4edie8j2c5d5e2"

# 7-4: a first checkpoint missed, so thrown back; then both times three right turns, and the axe.
MAZE_7_4 = (
    "h3c11e14g2hdece2ia5e2be2b2e5d2f2je6b2c2di2dh4b8e4c6e4j2ebc6e4d3e3i11dh4ed2f6d8e13i2ec2ab3e15d3e8b8e2i3ed4c4ge8je6de3"
    "c2ad4e7h5d9i10h2b2j8e13de4g3d3f2j3a3b13e4b4c2e12bd2e7f3de2a3fc5d6e3ac4e4c7fb4d3e3j5e7b11ed3e2f7c23e7dc6i2g12f4ebe3d3"
    "i4e4d8e3c5j10a6e8af3e3c20dgc3d3h3e2c8"
)

# 8-4: thrown back by the first checkpoint; then through the two pipes that lead on, through the water, and out of it
# into the last part.
PIPES_8_4 = (
    "j2fd9e2be10dc3e20j6d15e14d3he4d4c4e10hd4gh7c11jeg3e16d5c7de3d4e4b4f3e5d11ec2d2e7h4c3j2c6jc3hd2c5d6e6d6c5je3b16e4j4c6"
    "dh2f4c3h2cb9j3e11g5db9e24d3i4e4g2b11e2j5b2ie4d7e10d12e8f6e6f4b2g3de4b2e2d9j5"
)

# 8-4: down the first pipe, which leads back from x 821 to 312.
WRONG_PIPE_8_4 = "j2fd9e2be10dc3e20j6d23je6j3"
