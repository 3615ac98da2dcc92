"""Super Mario Bros in RAM: named addresses and what they mean.

Addresses are those of the data-crystal RAM map (https://datacrystal.tcrf.net/wiki/Super_Mario_Bros./RAM_map) and
of doppelganger's commented disassembly (https://www.romhacking.net/documents/344/), whose names stand in brackets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

RAM_SIZE = 2048

# What Mario is doing.
PLAYER_ACTIVITY = 0x000E  # [GameEngineSubroutine]
PLAYER_FLOAT_STATE = 0x001D  # [Player_State] 0 on the ground, 1 jumping, 2 falling, 3 climbing
PLAYER_PAGE = 0x006D  # [Player_PageLoc] x, in pages of 256 pixels
PLAYER_X = 0x0086  # [Player_X_Position] x inside the page
PLAYER_Y_SPEED = 0x009F  # [Player_Y_Speed] pixels a frame, signed, downwards
PLAYER_Y_SCREEN = 0x00B5  # [Player_Y_HighPos] 0 above the screen, 1 on it, 2 and more below it
PLAYER_Y = 0x03B8  # [Player_Rel_YPos] y on the screen, growing downwards
PLAYER_STATUS = 0x0756  # [PlayerStatus] 0 small, 1 tall, 2 fire

# Values of PLAYER_ACTIVITY.
ACTIVITY_SLIDING_DOWN_POLE = 4  # [FlagpoleSlide]
ACTIVITY_WALKING_TO_CASTLE = 5  # [PlayerEndLevel]
ACTIVITY_DEAD = 6  # [PlayerLoseLife]
ACTIVITY_NORMAL = 8  # [PlayerCtrlRoutine]
ACTIVITY_GROWING = 9  # [PlayerChangeSize]
ACTIVITY_HURT = 10  # [PlayerInjuryBlink]
ACTIVITY_DYING = 11  # [PlayerDeath]
ACTIVITY_CATCHING_FIRE = 12  # [PlayerFireFlower]

# Enemies: five slots and what may stand in them.
ENEMY_TYPES = range(0x0016, 0x001B)  # [Enemy_ID]
ENEMY_LIFTS = range(0x0024, 0x002D)  # all kinds of lifts and platforms
ENEMY_BOWSER = 0x2D
ENEMY_STAGE_END_FLAG = 0x31

# Where in the game we are.
WORLD = 0x075F  # [WorldNumber] counted from 0
STAGE = 0x075C  # [LevelNumber] counted from 0
AREA = 0x0760  # [AreaNumber] like the stage, but intros count too
AREA_TYPE = 0x074E  # [AreaType] of the area loaded: 0 water, 1 ground, 2 underground, 3 castle
AREA_OFFSET = 0x074F  # [AreaAddrsLOffset] which area of that type; [AreaPointer], 0x750, is the one loaded *next*
AREA_TYPE_WATER = 0
GAME_MODE = 0x0770  # [OperMode] 0 title, 1 game, 2 end of a castle, 3 game over
GAME_TASK = 0x0772  # [OperMode_Task] inside the game: 0-2 loading and black screens, 3 playing
CLOUD_AREA = 0x0743  # [CloudTypeOverride] set in the coin heavens, where falling leads back and not to death
BLACK_SCREEN_TIMER = 0x07A0  # [ScreenTimer] counts down while the black screen with the lives shows

MODE_TITLE, MODE_GAME, MODE_CASTLE_END, MODE_GAME_OVER = 0, 1, 2, 3
TASK_PLAYING = 3

# What makes the game vary.
FRAME_COUNTER = 0x0009  # [FrameCounter]
INTERVAL_TIMER = 0x077F  # [IntervalTimerControl] counts 21 frames down, the tick of the slow timers
RANDOM_NUMBERS = range(0x07A7, 0x07AE)  # [PseudoRandomBitReg]
BUTTONS_READ = 0x06FC  # [SavedJoypad1Bits] the buttons of this frame, A in the highest bit, right in the lowest

# Mazes (4-4, 7-4, 8-4): the ROM's own account of right and wrong turns.
MAZE_CHECK = 0x0745  # [LoopCommand] set while a checkpoint lies ahead
MAZE_RIGHT_TURNS = 0x06D9  # [MultiLoopCorrectCntr] 7-4 counts three turns before it decides
MAZE_TURNS = 0x06DA  # [MultiLoopPassCntr]
LOADED_PAGE = 0x0725  # [CurrentPageLoc] the page being drawn ahead of Mario; each checkpoint has one of its own
MAZE_SETBACK = 1024  # pixels that a wrong way costs
# [LoopCmdWorldNumber, LoopCmdPageNumber] (WORLD, LOADED_PAGE) of the checkpoints that can be passed. The ROM has three
# more in 8-4, for a height at which nobody stands: they always throw Mario back, and only the pipes there lead on.
MAZE_CHECKPOINTS = frozenset({(3, 5), (3, 9), (6, 4), (6, 5), (6, 6), (6, 8), (6, 9), (6, 10)})

# Numbers on the status bar, one decimal digit a byte.
SCORE_DIGITS = range(0x07DE, 0x07E4)
COIN_DIGITS = range(0x07ED, 0x07EF)
CLOCK_DIGITS = range(0x07F8, 0x07FB)
LIVES = 0x075A  # lives left after this one; 255 when the game is over

CLOCK_FRAMES_PER_UNIT = 24  # one unit of the clock on the status bar

_CONTROLLABLE = frozenset({ACTIVITY_NORMAL, ACTIVITY_GROWING, ACTIVITY_HURT, ACTIVITY_CATCHING_FIRE})
STATUS_NAMES = ("small", "tall", "fireball")

Ram = Sequence[int]
Area = tuple[int, int, int, int]
"""World and stage, both counted from 0, type and offset: which area is loaded."""


def area_now(ram: Ram) -> Area:
    """The area that is loaded."""
    return ram[WORLD], ram[STAGE], ram[AREA_TYPE], ram[AREA_OFFSET]


def x_position(ram: Ram) -> int:
    """Mario's x in the area, in pixels; slightly negative left of the area's edge (its page byte is 255 there)."""
    x = ram[PLAYER_PAGE] << 8 | ram[PLAYER_X]
    return x - 0x10000 if x > 60_000 else int(x)


def y_position(ram: Ram) -> int:
    """Mario's height above the lower edge of the screen in pixels, as gym-super-mario-bros counts it."""
    height = 255 - ram[PLAYER_Y]
    return int(height + 255 if ram[PLAYER_Y_SCREEN] < 1 else height)


def number(ram: Ram, digits: range) -> int:
    """A number of the status bar."""
    value = 0
    for address in digits:
        value = value * 10 + ram[address]
    return int(value)


def stage_now(ram: Ram) -> tuple[int, int]:
    """World and stage being played, counted from 1."""
    return ram[WORLD] + 1, ram[STAGE] + 1


def is_controllable(ram: Ram) -> bool:
    """Whether the game is being played and buttons do something: no cutscene, pipe, black screen or loading."""
    return ram[GAME_MODE] == MODE_GAME and ram[GAME_TASK] == TASK_PLAYING and ram[PLAYER_ACTIVITY] in _CONTROLLABLE


def is_dead(ram: Ram) -> bool:
    """Whether Mario is dying, dead, or has fallen out of the picture. (The lives change only much later.)"""
    fallen = ram[PLAYER_Y_SCREEN] > 1 and ram[PLAYER_Y_SCREEN] < 128 and not ram[CLOUD_AREA]
    return fallen or ram[PLAYER_ACTIVITY] in (ACTIVITY_DYING, ACTIVITY_DEAD)


def is_falling(ram: Ram) -> bool:
    """Whether Mario is on his way down, and not standing on a lift.

    [Player_State] does not tell: on a lift that sinks it changes between standing and falling. Without a lift, a speed
    of 0 counts as falling, for at the edge of a pit the game lets Mario stand for a frame.
    """
    speed = ram[PLAYER_Y_SPEED]
    if speed == 0:
        return not any(ram[slot] in ENEMY_LIFTS for slot in ENEMY_TYPES)
    return speed < 128


def is_stage_end(ram: Ram) -> bool:
    """Whether the flagpole or the axe has been reached.

    gym-super-mario-bros' own test (an end-of-stage flag among the enemies while Mario climbs) can last a single
    frame or be missed, so the slide down the pole and the walk to the castle count too.
    """
    if ram[GAME_MODE] == MODE_CASTLE_END:
        return True
    if ram[GAME_MODE] != MODE_GAME:
        return False
    if ram[PLAYER_ACTIVITY] in (ACTIVITY_SLIDING_DOWN_POLE, ACTIVITY_WALKING_TO_CASTLE):
        return True
    return ram[PLAYER_FLOAT_STATE] == 3 and any(ram[slot] in (ENEMY_BOWSER, ENEMY_STAGE_END_FLAG) for slot in ENEMY_TYPES)


class GameVariables(TypedDict):
    """What gym-super-mario-bros puts into `info`, decoded from RAM."""

    coins: int
    flag_get: bool
    life: int
    score: int
    stage: int
    status: str
    time: int
    world: int
    x_pos: int
    y_pos: int


def decode(ram: Ram) -> GameVariables:
    """The game variables of one frame."""
    world, stage = stage_now(ram)
    return GameVariables(
        coins=number(ram, COIN_DIGITS),
        flag_get=is_stage_end(ram),
        life=int(ram[LIVES]),
        score=number(ram, SCORE_DIGITS),
        stage=int(stage),
        status=STATUS_NAMES[min(ram[PLAYER_STATUS], 2)],
        time=number(ram, CLOCK_DIGITS),
        world=int(world),
        x_pos=x_position(ram),
        y_pos=y_position(ram),
    )
