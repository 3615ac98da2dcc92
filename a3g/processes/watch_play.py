"""Playing along: a viewer's own game of a stage, sixty frames a second, with a ghost drawn over it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from a3g.errors import UserError
from a3g.game import memory
from a3g.game.buttons import BUTTON_SELECT, BUTTON_START
from a3g.game.emulators import FRAMES_PER_SECOND, VISIBLE_LEFT, Emulator, make_emulator
from a3g.game.options import GameOptions
from a3g.game.rewards import REWARDS
from a3g.game.rules import Episode
from a3g.game.stage_starts import StartStates
from a3g.game.stages import STAGES, Stage
from a3g.processes.watch_ghosts import Ghost, Ghosts, draw_ghost
from a3g.processes.watch_live import JPEG_LARGE, jpeg, pack
from a3g.reporting.watch.run_files import without_paths

MOST_GAMES = 4
# A player who is silent for so long is gone: the page says something every second, whatever is pressed.
SILENCE_SECONDS = 10.0
SEND_SECONDS = 10.0
LONGEST_GAME_SECONDS = 900.0
# So many pictures may be on their way; more are left out.
MOST_UNSEEN = 8
_LARGEST_MESSAGE = 256
# START would pause the game for good: its rules do not know pauses.
_ALLOWED = 0xFF & ~(BUTTON_START | BUTTON_SELECT)
# What `Episode.step` hands to the emulator while the player plays; in scenes without control it hands on no buttons.
_PLAYERS_BUTTONS = 0x100
_STAGES = {str(stage): stage for stage in STAGES}


class _PlayerLeftError(Exception):
    """The player has gone, or the time is up."""


class PlayedGame:
    """One game. It runs in a thread of its own, at the console's pace."""

    def __init__(self, stage: Stage, options: GameOptions, ghost: Ghost | None, loop: asyncio.AbstractEventLoop) -> None:
        """
        Args:
            stage: what is played.
            options: the agent's game; the rewards are counted for the same agent steps.
            ghost: plays along.
            loop: that `pictures` is read in.
        """
        self._stage, self._options, self._ghost, self._loop = stage, options, ghost, loop
        self._wakes = asyncio.Event()
        self._newest: bytes | None = None
        self.buttons, self.input = 0, 0
        """What is held, and the number of the message that said so."""
        self.seen = 0
        """The number of the newest picture that the player has."""
        self.leaves = threading.Event()
        self._frame, self._sent = 0, 0
        self._next_at = 0.0
        self._steps, self._reward, self._last = 0, 0.0, 0.0
        self._outcome = ""

    async def picture(self) -> bytes:
        """The newest picture that was not handed out yet; older ones are forgotten."""
        await self._wakes.wait()
        self._wakes.clear()
        assert self._newest is not None
        return self._newest

    def run(self) -> None:
        """Play until the end of the stage, or until the player leaves."""
        emulator = make_emulator("native")
        StartStates(emulator).load(self._stage)
        emulator.frame(0)
        episode = Episode(emulator.ram(), self._stage, self._options.time_per_stage, lambda shown: None, self._options.reward)
        paced: Any = _Paced(emulator, self)
        scale = REWARDS[self._options.reward].scale
        with contextlib.suppress(_PlayerLeftError):
            self._show(emulator)
            while not self.input and not self.leaves.wait(1 / FRAMES_PER_SECOND):  # it begins with the first key
                pass
            began = self._next_at = time.monotonic()
            while not self._outcome and time.monotonic() - began < LONGEST_GAME_SECONDS:
                result = episode.step(paced, _PLAYERS_BUTTONS, self._options.skip_rate)
                self._last = result.reward / scale
                self._reward += self._last
                self._steps += 1
                self._outcome = str(result.outcome or "")
            self._outcome = self._outcome or "timeout"
            self._sent = self.seen  # the last picture is sent in any case
            self._show(emulator)

    def tick(self, emulator: Emulator) -> None:
        """One frame with what the player holds now, when it is due."""
        self._next_at += 1 / FRAMES_PER_SECOND
        now = time.monotonic()
        if self._next_at < now - 0.25:  # the machine was busy: go on from here instead of hurrying after
            self._next_at = now
        if self.leaves.wait(max(self._next_at - now, 0.0)):
            raise _PlayerLeftError
        emulator.frame(self.buttons)
        self._frame += 1
        self._show(emulator)

    def _show(self, emulator: Emulator) -> None:
        if self._sent - self.seen >= MOST_UNSEEN:
            return
        self._sent += 1
        ram, picture = emulator.ram(), emulator.rgb()
        header: dict[str, Any] = {
            "number": self._sent,
            "input": self.input,
            "frame": self._frame,
            "reward": round(self._reward, 3),
            "steps": self._steps,
            "last": round(self._last, 3),
            "clock": memory.number(ram, memory.CLOCK_DIGITS),
            "x": ram[memory.PLAYER_PAGE] * 256 + ram[memory.PLAYER_X],
            "outcome": self._outcome,
        }
        ghost = self._ghost
        if ghost is not None and ghost.frames:
            at = min(self._frame, len(ghost.frames) - 1)
            draw_ghost(picture, ghost.frames[at], ram)
            over = self._frame >= len(ghost.frames)
            step = min(-(-self._frame // ghost.skip_rate), len(ghost.rewards))
            header |= {
                "ghost_reward": round(sum(ghost.rewards[:step]), 3),
                "ghost_x": ghost.frames[at].x + VISIBLE_LEFT,
                "ghost_outcome": ghost.outcome if over else "",
            }
        message = pack(header, {"picture": jpeg(picture, JPEG_LARGE)})

        def deliver() -> None:
            self._newest = message
            self._wakes.set()

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(deliver)


class _Paced:
    """The emulator as `Episode` sees it: frames in which Mario obeys take the player's buttons, and their time."""

    def __init__(self, emulator: Emulator, game: PlayedGame) -> None:
        self._emulator, self._game = emulator, game

    def frame(self, buttons: int, draw: bool = True) -> None:
        if buttons == _PLAYERS_BUTTONS:
            self._game.tick(self._emulator)
        elif self._game.leaves.is_set():
            raise _PlayerLeftError
        else:
            self._emulator.frame(buttons, draw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emulator, name)


class Games:
    """The games that viewers play; their number is limited."""

    def __init__(self, options: GameOptions, ghosts: Ghosts) -> None:
        self._options, self._ghosts = options, ghosts
        self._playing = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Let a viewer play one game, from its request to its end."""
        stage = _STAGES.get(websocket.query_params.get("stage", ""))
        kind = websocket.query_params.get("ghost", "none")
        if stage is None or kind not in ("weights", "demo", "none"):
            await websocket.close(1008)
            return
        await websocket.accept()
        if self._playing >= MOST_GAMES:
            await _refuse(websocket, f"{MOST_GAMES} others play at the moment: try again later.")
            return
        self._playing += 1
        try:
            await self._play(websocket, stage, kind)
        except (WebSocketDisconnect, RuntimeError, ValueError, TimeoutError):
            pass
        finally:
            self._playing -= 1
        with contextlib.suppress(Exception):
            await asyncio.wait_for(websocket.close(), SEND_SECONDS)

    async def _play(self, websocket: WebSocket, stage: Stage, kind: str) -> None:
        ghost, problem, gone = None, "", threading.Event()
        if kind != "none":
            try:
                ghost = await asyncio.to_thread(self._ghosts.get, kind, stage, gone.is_set)
            except UserError as error:
                problem = without_paths(str(error))
            finally:  # the thread would otherwise keep a page that is to end
                gone.set()
        begin = {"ready": True, "problem": problem, "ghost_rewards": list(ghost.rewards) if ghost else []}
        await asyncio.wait_for(websocket.send_bytes(pack(begin, {})), SEND_SECONDS)
        game = PlayedGame(stage, self._options, ghost, asyncio.get_running_loop())
        playing = asyncio.create_task(asyncio.to_thread(game.run))
        sending = asyncio.create_task(_send(websocket, game))
        receiving = asyncio.create_task(_receive(websocket, game))
        try:
            await asyncio.wait({playing, sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                await asyncio.wait({sending}, timeout=1.0)  # the last picture
        finally:
            game.leaves.set()
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(playing, sending, receiving, return_exceptions=True)


async def _send(websocket: WebSocket, game: PlayedGame) -> None:
    while True:
        await asyncio.wait_for(websocket.send_bytes(await game.picture()), SEND_SECONDS)


async def _receive(websocket: WebSocket, game: PlayedGame) -> None:
    while True:
        text = await asyncio.wait_for(websocket.receive_text(), SILENCE_SECONDS)
        values = json.loads(text) if len(text) <= _LARGEST_MESSAGE else None
        if not isinstance(values, dict):
            raise ValueError("no message")
        numbers = [values.get(name, 0) for name in ("buttons", "input", "seen")]
        if not all(type(number) is int and 0 <= number < 1 << 53 for number in numbers):
            raise ValueError("no message")
        game.buttons, game.input = numbers[0] & _ALLOWED, numbers[1]
        game.seen = min(numbers[2], 1 << 40)


async def _refuse(websocket: WebSocket, problem: str) -> None:
    with contextlib.suppress(Exception):
        await asyncio.wait_for(websocket.send_bytes(pack({"ready": False, "problem": problem}, {})), SEND_SECONDS)
        await asyncio.wait_for(websocket.close(1013), SEND_SECONDS)
