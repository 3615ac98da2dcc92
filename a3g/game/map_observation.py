"""The game as a map of what is around Mario, read from RAM: what an expert sees, who then teaches one that sees pictures.

A map costs no picture and is small, and what is near Mario stands at the same place in all stages. So learning takes a
fraction of what it takes from pictures. It is not what a player sees: it tells where in which stage Mario is, and how fast
everything moves. (Learning by cheating, Chen et al. 2019, https://arxiv.org/abs/1912.12294.)

Addresses are those of doppelganger's commented disassembly (https://www.romhacking.net/documents/344/), its names in brackets.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from a3g.game import memory
from a3g.game.options import MAP_SHAPE
from a3g.network_spec import FIRST_MAP_SIZE, MAP_PAGES, MAP_PLACE_AT, MAP_STAGES

try:
    import a3g_native
except ImportError:
    _draw_natively = None
else:
    _draw_natively = getattr(a3g_native, "write_maps", None)  # not in cores of earlier versions

ROWS_ABOVE, ROWS_BELOW, COLUMNS_BEHIND, COLUMNS_AHEAD = 8, 6, 4, 10
"""Tiles of 16 pixels around the one that Mario's feet are in."""
_ROWS, _COLUMNS = ROWS_ABOVE + 1 + ROWS_BELOW, COLUMNS_BEHIND + 1 + COLUMNS_AHEAD
_PLANES = 4
_SOLID, _STOMPABLE, _DEADLY, _LIFT = range(_PLANES)
_NEAREST = 6
"""Objects whose places and speeds are told to the pixel."""
_FIRST = 4
"""Those of them that maps have told of from the beginning; the others' numbers come last, so that older weights go on."""
_PER_OBJECT, _MORE_PER_OBJECT = 10, 21
_MARIO, _MORE_OF_MARIO = 30, 20
_PLANE_SIZE = _ROWS * _COLUMNS
_OBJECTS_AT = _PLANES * _PLANE_SIZE
_MARIO_AT = _OBJECTS_AT + _FIRST * _PER_OBJECT
_PLACE_AT, _OTHERS_AT = MAP_PLACE_AT, FIRST_MAP_SIZE
_MORE_AT = _OTHERS_AT + (_NEAREST - _FIRST) * _PER_OBJECT
_MORE_OF_MARIO_AT = _MORE_AT + _NEAREST * _MORE_PER_OBJECT
assert _MARIO_AT + _MARIO == MAP_PLACE_AT
assert MAP_SHAPE == (1, 1, _MORE_OF_MARIO_AT + _MORE_OF_MARIO)
MAP_ONE = 128
"""The byte that stands for one; numbers with a sign are around it."""

_BLOCK_BUFFER, _BLOCK_ROWS, _BLOCK_PAGE = 0x0500, 13, 0xD0  # [Block_Buffer_1], 16 tiles a row, two pages by turns
_FIRST_ROW_Y = 32  # y of the first row of tiles
# Tiles that are in the buffer, but can't be stood on: nothing, what is climbed ([ClimbMTileUpperExt], from the first one on in
# each quarter of the numbers), coins, and hidden blocks.
_FIRST_CLIMBED = np.array([0x24, 0x6D, 0x8A, 0xC6])
_SOLID_TILES = np.arange(256) < _FIRST_CLIMBED[np.arange(256) >> 6]
_SOLID_TILES[[0x00, 0xC2, 0xC3, 0x5F, 0x60]] = False

_SLOTS = 6
_FLAG, _ID, _STATE = 0x000F, memory.ENEMY_TYPES[0], 0x001E  # [Enemy_Flag], [Enemy_ID], [Enemy_State]
_X_SPEED, _Y_SPEED = 0x0058, 0x00A0  # [Enemy_X_Speed], [Enemy_Y_Speed]; of firebars [FirebarSpinState_High]
_PAGE, _X, _Y_HIGH, _Y = 0x006E, 0x0087, 0x00B6, 0x00CF
_HAMMERS, _HAMMER_STATE, _HAMMER_PAGE, _HAMMER_X, _HAMMER_Y = 9, 0x002A, 0x007A, 0x0093, 0x00DB  # [Misc_State] and so on
_HAMMER_ID = 0x40
_TIMER, _INTERVAL_TIMER = 0x078A, 0x0796  # [EnemyFrameTimer], [EnemyIntervalTimer]
_MOVING, _SPIN, _SPIN_SPEED = 0x0046, 0x0034, 0x0388  # [Enemy_MovingDir], [FirebarSpinDirection], [FirebarSpinSpeed]
_FIREBARS = range(0x1B, 0x20)
_LONG_FIREBAR = 0x1F
# Of the 32 angles of firebars, by the C library's functions: NumPy's own differ in the last bit between processors.
_SINES = np.array([math.sin(angle * (2 * math.pi / 32)) for angle in range(32)])
_COSINES = np.array([math.cos(angle * (2 * math.pi / 32)) for angle in range(32)])

_PLANE_OF = np.full(0x41, -1)
_PLANE_OF[[0, 1, 2, 3, 4, 5, 6, 8, 9, 0x0A, 0x0B, 0x0E, 0x0F, 0x10, 0x11, 0x14, 0x33]] = _STOMPABLE
_PLANE_OF[[7, 0x0C, 0x0D, 0x12, 0x15, 0x16, *_FIREBARS, memory.ENEMY_BOWSER, _HAMMER_ID]] = _DEADLY
_PLANE_OF[[*memory.ENEMY_LIFTS, 0x32]] = _LIFT
# Kinds that behave alike, by [Enemy_ID].
_GROUPS = (
    (0, 1, 3, 4),  # Koopa Troopas
    (2,),  # Buzzy Beetles
    (5,),  # Hammer Brothers
    (6,),  # Goombas
    (8, 0x33),  # Bullet Bills
    (7, 0x0A, 0x0B),  # Bloobers and Cheep-cheeps
    (0x0C,),  # Podoboos
    (0x0D,),  # Piranha Plants
    (0x0E, 0x0F, 0x10),  # Koopa Paratroopas
    (0x11, 0x12),  # Lakitus and Spinies
    (0x14,),  # flying Cheep-cheeps
    (0x15,),  # Bowser's flames
    tuple(_FIREBARS),
    (*memory.ENEMY_LIFTS, 0x32),  # lifts and springs
    (memory.ENEMY_BOWSER,),
    (_HAMMER_ID,),
)
_GROUP_OF = np.zeros((0x41, len(_GROUPS)), np.uint8)
for _group, _members in enumerate(_GROUPS):
    _GROUP_OF[list(_members), _group] = MAP_ONE
# Drawn three tiles wide; all else but Bowser is one tile.
_WIDE_LIFTS = frozenset(range(0x24, 0x2B))


def write_maps(ram: NDArray[np.uint8], maps: NDArray[np.uint8]) -> None:
    """Draw maps, by the native core if it is installed.

    Args:
        ram: work RAM, C-contiguous (lanes, 2048).
        maps: uint8, C-contiguous (lanes, *MAP_SHAPE), overwritten.
    """
    (_draw_natively or write_maps_in_numpy)(ram, maps)


def stages_of(maps: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The stages that maps are of, (lanes,): 0 for 1-1 to 31 for 8-4.

    Args:
        maps: (lanes, *MAP_SHAPE).
    """
    stages: NDArray[np.int64] = maps.reshape(len(maps), -1)[:, MAP_PLACE_AT : MAP_PLACE_AT + MAP_STAGES].argmax(axis=1)
    return stages


def write_maps_in_numpy(ram: NDArray[np.uint8], maps: NDArray[np.uint8]) -> None:
    """As `write_maps`, without the native core; native/src/maps.cpp does the same."""
    lanes = len(ram)
    flat = maps.reshape(lanes, -1)
    flat[:] = 0
    wide = ram.astype(np.int32)
    x = (wide[:, memory.PLAYER_PAGE] << 8) + wide[:, memory.PLAYER_X]
    x = np.where(x > 60_000, x - 0x10000, x) + 8
    y = ((wide[:, memory.PLAYER_Y_SCREEN] - 1) << 8) + wide[:, 0x00CE] + 16
    column, row = x >> 4, (y - _FIRST_ROW_Y) >> 4
    planes = flat[:, :_OBJECTS_AT].reshape(lanes, _PLANES, _ROWS, _COLUMNS)
    planes[:, _SOLID] = _tiles(ram, column, row)
    numbers, more = _draw_objects(wide, x, y, column, row, planes)
    flat[:, _OBJECTS_AT:_MARIO_AT] = numbers[:, :_FIRST].reshape(lanes, -1)
    flat[:, _OTHERS_AT:_MORE_AT] = numbers[:, _FIRST:].reshape(lanes, -1)
    flat[:, _MORE_AT:_MORE_OF_MARIO_AT] = more.reshape(lanes, -1)
    _draw_mario(wide, x, y, flat[:, _MARIO_AT:_PLACE_AT])
    _draw_more_of_mario(wide, flat[:, _MORE_OF_MARIO_AT:])
    every = np.arange(lanes)
    place = flat[:, _PLACE_AT:_OTHERS_AT]
    place[every, np.clip(wide[:, memory.WORLD] * 4 + wide[:, memory.STAGE], 0, MAP_STAGES - 1)] = MAP_ONE
    place[every, MAP_STAGES + np.clip(x >> 8, 0, MAP_PAGES - 1)] = MAP_ONE
    place[every, MAP_STAGES + MAP_PAGES + (wide[:, memory.AREA_TYPE] & 3)] = MAP_ONE


def _tiles(ram: NDArray[np.uint8], column: NDArray[np.int32], row: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The solid tiles around Mario, (lanes, rows, columns)."""
    rows = row[:, None] + np.arange(-ROWS_ABOVE, ROWS_BELOW + 1)
    columns = np.maximum(column[:, None] + np.arange(-COLUMNS_BEHIND, COLUMNS_AHEAD + 1), 0)
    at_row = np.clip(rows, 0, _BLOCK_ROWS - 1) * 16
    at_column = _BLOCK_BUFFER + (columns >> 4 & 1) * _BLOCK_PAGE + (columns & 15)
    tiles = np.take_along_axis(ram, (at_row[:, :, None] + at_column[:, None, :]).reshape(len(ram), -1), axis=1)
    inside = (rows >= 0) & (rows < _BLOCK_ROWS)
    solid = _SOLID_TILES[tiles].reshape(len(ram), _ROWS, _COLUMNS) & inside[:, :, None]
    return np.where(solid, MAP_ONE, 0).astype(np.uint8)


def _draw_objects(
    ram: NDArray[np.int32],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    column: NDArray[np.int32],
    row: NDArray[np.int32],
    planes: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Enemies, lifts and hammers in the planes.

    Returns:
        The nearest ones in numbers, (lanes, objects, _PER_OBJECT) and (lanes, objects, _MORE_PER_OBJECT).
    """
    lanes = len(ram)
    kinds = np.where(ram[:, _FLAG : _FLAG + _SLOTS] != 0, np.minimum(ram[:, _ID : _ID + _SLOTS], 0x3F), 0x3F)
    hammers = np.where(ram[:, _HAMMER_STATE : _HAMMER_STATE + _HAMMERS] & 0x80, _HAMMER_ID, 0x3F)
    kinds = np.concatenate([kinds, hammers], axis=1)
    plane = _PLANE_OF[kinds]
    present = plane >= 0
    if not present.any():
        return np.zeros((lanes, _NEAREST, _PER_OBJECT), np.uint8), np.zeros((lanes, _NEAREST, _MORE_PER_OBJECT), np.uint8)
    object_x = (ram[:, _PAGE : _PAGE + _SLOTS] << 8) + ram[:, _X : _X + _SLOTS]
    object_y = ((ram[:, _Y_HIGH : _Y_HIGH + _SLOTS] - 1) << 8) + ram[:, _Y : _Y + _SLOTS] + 8
    hammer_x = (ram[:, _HAMMER_PAGE : _HAMMER_PAGE + _HAMMERS] << 8) + ram[:, _HAMMER_X : _HAMMER_X + _HAMMERS]
    object_x = np.concatenate([object_x, hammer_x], axis=1) + 8
    object_y = np.concatenate([object_y, ram[:, _HAMMER_Y : _HAMMER_Y + _HAMMERS]], axis=1)
    dx, dy = object_x - x[:, None], object_y - y[:, None]
    speeds = np.zeros((2, *kinds.shape), np.int32)
    for speed, address in zip(speeds, (_X_SPEED, _Y_SPEED), strict=True):
        speed[:, :_SLOTS] = ram[:, address : address + _SLOTS].astype(np.int8)
    states = np.zeros_like(kinds)
    states[:, :_SLOTS] = ram[:, _STATE : _STATE + _SLOTS]

    lane, slot = np.nonzero(present)
    marks = [(lane, plane[lane, slot], object_x[lane, slot], object_y[lane, slot])]
    for width in (16, 32):
        more = np.isin(kinds[lane, slot], list(_WIDE_LIFTS)) | (kinds[lane, slot] == memory.ENEMY_BOWSER) & (width == 16)
        some = lane[more], slot[more]
        marks.append((some[0], plane[some], object_x[some] + width, object_y[some]))
    bars = np.isin(kinds[lane, slot], _FIREBARS)
    if bars.any():
        some = lane[bars], slot[bars]
        angle = ram[some[0], _Y_SPEED + some[1]] & 31
        lengths = np.where(kinds[some] == _LONG_FIREBAR, 12, 6)
        for ball in range(2, 12, 2):
            far = ball < lengths
            ball_x = object_x[some] + (8 * ball * _SINES[angle]).astype(np.int32)
            ball_y = object_y[some] - (8 * ball * _COSINES[angle]).astype(np.int32)
            marks.append((some[0][far], plane[some][far], ball_x[far], ball_y[far]))
    lanes_of, planes_of, xs, ys = (np.concatenate(parts) for parts in zip(*marks, strict=True))
    at_column = (xs >> 4) - column[lanes_of] + COLUMNS_BEHIND
    at_row = ((ys - _FIRST_ROW_Y) >> 4) - row[lanes_of] + ROWS_ABOVE
    shown = (at_column >= 0) & (at_column < _COLUMNS) & (at_row >= 0) & (at_row < _ROWS)
    planes[lanes_of[shown], planes_of[shown], at_row[shown], at_column[shown]] = MAP_ONE

    distance = np.where(present, np.abs(dx - 24) + np.abs(dy) // 2, 1 << 20)
    order = np.argsort(distance, axis=1, kind="stable")[:, :_NEAREST]
    every = np.arange(lanes)[:, None]
    there = present[every, order]
    angle = speeds[1][every, order] & 31
    is_bar = np.isin(kinds[every, order], _FIREBARS)
    numbers = np.stack(
        [
            np.full(order.shape, MAP_ONE),
            _signed(dx[every, order]),
            _signed(dy[every, order]),
            _signed(2 * speeds[0][every, order]),
            _signed(8 * speeds[1][every, order]),
            np.where(plane[every, order] == _STOMPABLE, MAP_ONE, 0),
            np.where(plane[every, order] == _DEADLY, MAP_ONE, 0),
            np.where(states[every, order] & 0x20, MAP_ONE, 0),
            np.where(is_bar, _signed((127 * _SINES[angle]).astype(np.int32)), 0),
            np.where(is_bar, _signed((127 * _COSINES[angle]).astype(np.int32)), 0),
        ],
        axis=-1,
    )
    slots = np.minimum(order, _SLOTS - 1)
    is_enemy = order < _SLOTS
    more = np.concatenate(
        [
            _GROUP_OF[kinds[every, order]],
            np.stack(
                [
                    np.where(is_enemy, np.minimum(4 * ram[every, _TIMER + slots], 255), 0),
                    np.where(is_enemy, np.minimum(16 * ram[every, _INTERVAL_TIMER + slots], 255), 0),
                    np.where(is_enemy & (ram[every, _MOVING + slots] == 1), MAP_ONE, 0),
                    np.where(is_bar & (ram[every, _SPIN + slots] != 0), MAP_ONE, 0),
                    np.where(is_bar, ram[every, _SPIN_SPEED + slots], 0),
                ],
                axis=-1,
            ),
        ],
        axis=-1,
    )
    return np.where(there[..., None], numbers, 0).astype(np.uint8), np.where(there[..., None], more, 0).astype(np.uint8)


def _draw_mario(ram: NDArray[np.int32], x: NDArray[np.int32], y: NDArray[np.int32], numbers: NDArray[np.uint8]) -> None:
    """How Mario moves and what he can do."""
    state = ram[:, memory.PLAYER_FLOAT_STATE]
    buttons = ram[:, 0x000D]  # [PreviousA_B_Buttons]
    flags = [
        state == 0,
        state == 1,
        state == 2,
        state == 3,
        buttons & 0x80,
        buttons & 0x40,
        ram[:, 0x0704],  # [SwimmingFlag]
        ram[:, 0x0754] == 0,  # [PlayerSize]
        ram[:, memory.PLAYER_STATUS] == 2,
        ram[:, 0x0714],  # [CrouchingFlag]
        ram[:, 0x079E],  # [InjuryTimer]
        ram[:, 0x079F],  # [StarInvincibleTimer]
        ram[:, 0x0033] == 1,  # [PlayerFacingDir] right
        ram[:, 0x0783],  # [RunningTimer]
        ram[:, 0x0723],  # [ScrollLock]
        ram[:, memory.MAZE_CHECK],
        ram[:, memory.PLAYER_ACTIVITY] == memory.ACTIVITY_NORMAL,
        ram[:, memory.FRAME_COUNTER] & 4,
    ]
    values = [
        _signed(2 * ram[:, 0x0057].astype(np.int8).astype(np.int32)),  # [Player_X_Speed]
        _signed(16 * ram[:, memory.PLAYER_Y_SPEED].astype(np.int8).astype(np.int32)),
        (x & 15) * 16,
        (y & 15) * 16,
        np.clip(y, 0, 255),
        x & 255,
        _signed(x - ((ram[:, 0x071A] << 8) + ram[:, 0x071C]) - 128),  # [ScreenLeft_PageLoc], [ScreenLeft_X_Pos]
        ram[:, 0x0709],  # [VerticalForce]
        ram[:, memory.MAZE_RIGHT_TURNS] * 32,
        ram[:, memory.MAZE_TURNS] * 32,
        ram[:, memory.CLOCK_DIGITS[0]] * 32,
    ]
    numbers[:, : len(flags)] = np.stack([flag != 0 for flag in flags], axis=1) * np.uint8(MAP_ONE)
    numbers[:, len(flags) : len(flags) + len(values)] = np.stack(values, axis=1) & 255


def _draw_more_of_mario(ram: NDArray[np.int32], numbers: NDArray[np.uint8]) -> None:
    """The buttons of the last frame, fractions of speeds, and what the game counts."""
    buttons, frames = ram[:, memory.BUTTONS_READ], ram[:, memory.FRAME_COUNTER]
    flags = [buttons & bit for bit in (0x80, 0x40, 0x08, 0x04, 0x02, 0x01)]
    flags += [frames & bit for bit in (0x01, 0x02, 0x08, 0x10, 0x20, 0x40)]
    flags.append(ram[:, 0x06CB])  # [EnemyFrenzyBuffer]
    values = [
        np.minimum(4 * ram[:, 0x0782], 255),  # [JumpSwimTimer]
        ram[:, 0x0705],  # [Player_X_MoveForce]
        ram[:, 0x0416],  # [Player_YMF_Dummy]
        ram[:, 0x0433],  # [Player_Y_MoveForce]
    ]
    numbers[:, : len(flags)] = np.stack([flag != 0 for flag in flags], axis=1) * np.uint8(MAP_ONE)
    numbers[:, len(flags) : len(flags) + len(values)] = np.stack(values, axis=1)


def _signed(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers with a sign as bytes around `MAP_ONE`."""
    return np.clip(values, -MAP_ONE, 255 - MAP_ONE) + MAP_ONE
