"""The watch page as a viewer's browser and as a stranger's program meet it: a real server, real sockets, real games."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from a3g.command_line import parse_eval, parse_train, parse_watch
from a3g.config import TrainConfig
from a3g.config_json import train_config_from_json
from a3g.errors import UserError
from a3g.exploration.demonstrations import load_demonstrations
from a3g.game import memory
from a3g.game.emulators import make_emulator
from a3g.game.options import ACTION_SETS
from a3g.game.stage_starts import StartStates
from a3g.game.stages import Stage
from a3g.processes.run_description import describe_run
from a3g.processes.watch_channel import TILES
from a3g.processes.watch_ghosts import Ghosts, draw_ghost
from a3g.processes.watch_live import MOST_VIEWERS
from a3g.processes.watch_play import MOST_GAMES
from a3g.processes.watch_runs import FinishedRun
from a3g.reporting.watch.address import bind
from a3g.reporting.watch.run_files import MOST_POINTS, Curves, without_paths
from tests.watching import PATIENCE_SECONDS, Page, PlayedPage, ask, closing, unpack, wait_for

BUTTON_RIGHT = 128
DEMOS = Path(__file__).parent.parent / "trained_models" / "demos"
CLIENT = httpx.Client(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedPage]:
    with closing(PlayedPage()) as page:
        yield page


def make_run(folder: Path) -> Path:
    """A run's folder as a training leaves it, with a film."""
    folder.mkdir(parents=True)
    config = TrainConfig(log_dir=folder.parent, save_model_dir=folder / "models", demos_dir=folder / "demos", run_name="one")
    (folder / "config.json").write_text(json.dumps(describe_run(config)))
    (folder / "summary.json").write_text(json.dumps({"agent_steps": 5000, "seconds": 9.5, "exit_reason": f"no {folder}/x"}))
    score = {"agent_steps": 4000, "mean_clear_rate": 0.5, "mean_clear_rate_interval": [0.1, 0.9], "stages_passed": ["1-1"]}
    score["stages"] = {"1-1": {"episodes": 5, "cleared": 5, "mean_progress": 3000.0}}
    card = {"test": score, "confirmation": None, "best": score, "episodes": [{"where": str(folder)}]}
    (folder / "scorecard.json").write_text(json.dumps(card))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("agent_steps", "seconds", "name", "value"))
        writer.writerows((100 * i, i, "learn/entropy", 2.0 - i / 10) for i in range(5))
    (folder / "videos").mkdir()
    (folder / "videos" / "best 1-1.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    folder = make_run(tmp_path_factory.mktemp("secret-place") / "one")
    with closing(Page(FinishedRun(folder))) as page:
        yield page, folder


# -- a viewer


def test_games_are_shown_to_a_viewer_and_move(played: PlayedPage) -> None:
    with played.viewer() as viewer:
        pictures = set()

        def next_picture() -> bool:
            header, parts = ask(viewer, tile=0)
            if "mosaic" in parts:
                mosaic = cv2.imdecode(np.frombuffer(parts["mosaic"], np.uint8), cv2.IMREAD_COLOR)
                assert mosaic.shape == (112, 960, 3)
                pictures.add(parts["mosaic"])
                names = [tile[0] for tile in header["tiles"] if tile[1]]
                assert set(names) <= {"1-1", "1-2", "1-3", "1-4"}
            return len(pictures) >= 4

        wait_for(next_picture)


def test_the_chosen_game_comes_with_what_the_agent_sees_and_wants(played: PlayedPage) -> None:
    with played.viewer() as viewer:
        header, parts = wait_for(lambda: next(((h, p) for h, p in [ask(viewer, tile=2)] if h.get("steps")), None))
        assert cv2.imdecode(np.frombuffer(parts["large"], np.uint8), cv2.IMREAD_COLOR).shape == (224, 240, 3)
        assert cv2.imdecode(np.frombuffer(parts["seen"], np.uint8), cv2.IMREAD_GRAYSCALE).shape == (80, 320)
        steps = np.frombuffer(parts["history"], "<f4").reshape(header["steps"], -1)
        assert steps.shape[1] == 10 + 3
        np.testing.assert_allclose(steps[:, :10].sum(-1), 1.0, rtol=1e-4)
        assert np.isfinite(steps).all()
        assert header["tile"] == 2
        # What is known already is not sent again.
        later, _ = ask(viewer, tile=2, known=header["known"])
        assert later["steps"] == later["known"] - header["known"]


def test_nothing_is_shown_to_nobody(played: PlayedPage) -> None:
    with played.viewer() as viewer:
        wait_for(lambda: "mosaic" in ask(viewer)[1])
        assert played.channel.is_watched
    wait_for(lambda: not played.channel.is_watched)
    assert played.channel.slot_of(played.channel.tester) is None


def test_fifty_viewers_look_on_at_once(played: PlayedPage) -> None:
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(played.viewer()) for _ in range(50)]
        seen: set[int] = set()
        threads = [
            threading.Thread(target=lambda i=i, v=v: wait_for(lambda: "mosaic" in ask(v)[1]) and seen.add(i))
            for i, v in enumerate(viewers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert len(seen) == 50
    wait_for(lambda: played.run.status()["viewers"] == 0)


def test_there_is_room_for_so_many_viewers_and_no_more(played: PlayedPage) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_VIEWERS):
            stack.enter_context(played.viewer())
        with played.viewer() as another, pytest.raises(ConnectionClosed) as refused:
            another.recv(PATIENCE_SECONDS)
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == 1013
    wait_for(lambda: played.run.status()["viewers"] == 0)


def test_a_viewer_that_never_reads_takes_no_memory_and_nothing_from_others(played: PlayedPage) -> None:
    """It asks and asks; what it does not take is not made."""
    deaf = socket.create_connection(("127.0.0.1", played.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{played.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    deaf.sendall((head + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").encode())
    request = b"{}"
    frame = bytes([0x81, 0x80 | len(request), 0, 0, 0, 0]) + request
    process = psutil.Process()
    with played.viewer() as viewer:
        wait_for(lambda: "mosaic" in ask(viewer)[1])
        before = process.memory_info().rss
        deaf.setblocking(False)
        for _ in range(20_000):
            try:
                deaf.sendall(frame)
            except OSError:  # the server does not take more, or has closed
                break
        for _ in range(30):
            assert ask(viewer)[0]["tile"] == 0
        assert process.memory_info().rss - before < 100e6
    deaf.close()
    wait_for(lambda: played.run.status()["viewers"] == 0)


@pytest.mark.parametrize("request_", ["[]", "not json", '{"tile": 32}', '{"tile": "1"}', '{"known": -1}', "x" * 2000])
def test_a_request_that_is_none_ends_its_connection_only(played: PlayedPage, request_: str) -> None:
    with played.viewer() as viewer:
        viewer.send(request_)
        with pytest.raises(ConnectionClosed):
            viewer.recv(PATIENCE_SECONDS)
    with played.viewer() as viewer:
        assert ask(viewer, source="999999999999999999", tile=TILES - 1)


def test_a_huge_message_ends_its_connection_only(played: PlayedPage) -> None:
    with played.viewer() as viewer:
        with pytest.raises(ConnectionClosed) as ending:  # noqa: PT012 (either of the two notices it)
            viewer.send("x" * 5_000_000)
            viewer.recv(PATIENCE_SECONDS)
        assert ending.value.rcvd is None or ending.value.rcvd.code == 1009
    with played.viewer() as viewer:
        assert ask(viewer)


# -- strangers


def test_only_own_names_are_served(played: PlayedPage) -> None:
    for host in ("127.0.0.1", "localhost", f"localhost:{played.port}", "[::1]:80", "192.168.0.7"):
        assert CLIENT.get(played.url, headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", ""):
        answer = CLIENT.get(f"{played.url}/api/run", headers={"Host": host})
        assert answer.status_code in (400, 421), host
        assert "stages" not in answer.text


def test_pages_of_other_sites_get_no_games(played: PlayedPage) -> None:
    for where in ("live", "play?stage=1-1&ghost=none"):
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{played.port + 1}"):
            with pytest.raises(InvalidStatus) as refused:
                played.viewer(where, origin=origin)
            assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        played.viewer(additional_headers={"Host": "evil.example"})
    with played.viewer(origin=played.url) as viewer:
        assert ask(viewer)


def test_the_page_can_only_be_read(played: PlayedPage) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert CLIENT.request(method, f"{played.url}/api/run").status_code == 405
    assert CLIENT.request("GET", f"{played.url}/api/run", content=b"x" * 100).status_code == 413
    assert CLIENT.post(f"{played.url}/api/run", content=b"x" * 20_000_000).status_code == 405
    assert CLIENT.get(f"{played.url}/{'a' * 5000}").status_code == 414
    answer = CLIENT.get(played.url)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_without_end_is_refused(played: PlayedPage) -> None:
    with socket.create_connection(("127.0.0.1", played.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        try:
            for _ in range(2000):
                connection.sendall(b"X-Filler: " + b"y" * 1000 + b"\r\n")
            answer = connection.recv(1000)
        except OSError:
            answer = b""
        assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert CLIENT.get(played.url).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/app.py",
        "/static//etc/passwd",
        "/films/../config.json",
        "/films/..%2fconfig.json",
        "/films/%2fetc%2fpasswd.mp4",
        "/films/best 1-1.mp4",
        "/../../../../etc/passwd",
        "/static/app.js%00",
    ],
)
def test_no_address_leads_to_a_file_of_the_disk(finished: tuple[Page, Path], path: str) -> None:
    with socket.create_connection(("127.0.0.1", finished[0].port), timeout=PATIENCE_SECONDS) as connection:
        # httpx would tidy the address up.
        connection.sendall(f"GET {path.replace(' ', '%20')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert b"root:" not in answer


def test_nothing_says_where_the_run_lies(finished: tuple[Page, Path], played: PlayedPage) -> None:
    page, _ = finished
    for where in ("run", "status", "curves", "scorecard", "films"):
        text = CLIENT.get(f"{page.url}/api/{where}").text
        assert "secret-place" not in text, where
        assert str(Path.home()) not in text
        assert socket.gethostname() not in text or len(socket.gethostname()) < 4
    assert "trained_models" not in CLIENT.get(f"{played.url}/api/run").text
    settings = CLIENT.get(f"{page.url}/api/run").json()["settings"]
    assert settings["lanes"] == TrainConfig.lanes
    assert "log_dir" not in settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("could not save to /home/me/logs/x.bin: full", "could not save to …: full"),
        ("see ~/logs and ./logs/a and ../b/c", "see … and … and …"),
        ("1,000 agent steps/s, 3 updates/s", "1,000 agent steps/s, 3 updates/s"),
        ("'/tmp/a b'", "'… b'"),
    ],
)
def test_messages_lose_their_paths(text: str, shown: str) -> None:
    assert without_paths(text) == shown


# -- a run that is over


def test_a_run_that_is_over_shows_curves_scores_and_films(finished: tuple[Page, Path]) -> None:
    page, _ = finished
    assert CLIENT.get(f"{page.url}/api/status").json()["agent_steps"] == 5000
    assert CLIENT.get(f"{page.url}/api/curves").json()["learn/entropy"][1] == [100, 1.0, 1.9]
    card = CLIENT.get(f"{page.url}/api/scorecard").json()
    assert card["best"]["stages"]["1-1"]["cleared"] == 5
    assert "episodes" not in card
    (film,) = CLIENT.get(f"{page.url}/api/films").json()
    assert film["name"] == "best 1-1"
    whole = CLIENT.get(f"{page.url}/films/{film['key']}.mp4")
    assert whole.headers["content-type"] == "video/mp4"
    assert len(whole.content) == film["bytes"] == 256 * 40
    part = CLIENT.get(f"{page.url}/films/{film['key']}.mp4", headers={"Range": "bytes=250-259"})
    assert part.status_code == 206
    assert part.content == whole.content[250:260]


def test_films_outside_the_folder_are_not_served(finished: tuple[Page, Path], tmp_path: Path) -> None:
    page, folder = finished
    (tmp_path / "other.mp4").write_bytes(b"private")
    link, linked = folder / "link.mp4", folder / "linked"
    link.symlink_to(tmp_path / "other.mp4")
    linked.symlink_to(tmp_path)
    try:
        assert [film["name"] for film in CLIENT.get(f"{page.url}/api/films").json()] == ["best 1-1"]
    finally:
        link.unlink()
        linked.unlink()


def test_long_curves_keep_their_shape_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    curves = Curves(tmp_path)
    assert curves.read() == {}
    for begin in range(0, 5000, 1000):
        with path.open("a") as file:
            file.writelines(f"{i},{i},a,{i / 2}\r\n" for i in range(begin, begin + 1000))
            file.write("17,brok")  # cut off in the middle, as by a full disk
        points = curves.read()["a"]
        assert len(points) <= MOST_POINTS
        assert all(value == steps / 2 for steps, _, value in points)
        assert points[0][0] == 0
        assert points[-1][0] > begin
        path.write_bytes(path.read_bytes()[: -len("17,brok")])


# -- play along


def test_a_viewer_plays_and_mario_walks(played: PlayedPage) -> None:
    with played.viewer("play?stage=1-1&ghost=none") as player:
        assert unpack(player.recv(PATIENCE_SECONDS))[0]["ready"]
        first, parts = unpack(player.recv(PATIENCE_SECONDS))
        assert cv2.imdecode(np.frombuffer(parts["picture"], np.uint8), cv2.IMREAD_COLOR).shape == (224, 240, 3)
        header: dict[str, Any] = first
        player.send(json.dumps({"buttons": BUTTON_RIGHT, "input": 1, "seen": 1}))

        def walks() -> bool:
            nonlocal header
            header, _ = unpack(player.recv(PATIENCE_SECONDS))
            player.send(json.dumps({"buttons": BUTTON_RIGHT, "input": 1, "seen": header["number"]}))
            return header["x"] > first["x"] + 30

        wait_for(walks)
        assert header["input"] == 1
        assert header["reward"] > 0


def test_the_ghost_plays_a_way_found_by_exploring(played: PlayedPage) -> None:
    with played.viewer("play?stage=1-4&ghost=demo") as player:
        header, _ = unpack(player.recv(PATIENCE_SECONDS))
        assert header["ready"]
        assert header["problem"] == ""
        assert len(header["ghost_rewards"]) > 50
        first, _ = unpack(player.recv(PATIENCE_SECONDS))
        assert first["ghost_reward"] == 0
        assert first["ghost_x"] > 0


def test_a_ghost_is_where_the_agent_was() -> None:
    """The player who does what the demonstration did sees nobody else: the two are at the same place."""
    ghosts = Ghosts(Path("nowhere"), DEMOS, "a3g")
    stage = Stage(1, 4)
    ghost = ghosts.get("demo", stage)
    assert ghosts.get("demo", stage) is ghost
    assert ghost.outcome == "cleared"
    shortest = min(load_demonstrations(DEMOS, [stage])[stage], key=lambda each: len(each.actions))
    assert len(ghost.rewards) == len(shortest.actions)
    emulator = make_emulator("native")
    StartStates(emulator).load(stage)
    for _ in range(1 + shortest.idle_frames):
        emulator.frame(0)
    frames = iter(ghost.frames)
    for action in shortest.actions[:40].tolist():
        for _ in range(ghost.skip_rate):
            emulator.frame(ACTION_SETS["a3g"][action])
            frame = next(frames)
            ram = emulator.ram()
            x = ram[memory.PLAYER_PAGE] * 256 + ram[memory.PLAYER_X]
            # The visible picture begins 8 pixels right of the console's.
            assert abs(frame.x + 8 - x) <= 8
            picture = emulator.rgb()
            before = picture.copy()
            draw_ghost(picture, frame, ram)
            changed = np.flatnonzero((picture != before).any(-1).any(0))
            assert len(changed) <= 20


def test_games_are_limited_and_end_with_their_players(played: PlayedPage) -> None:
    with contextlib.ExitStack() as stack:
        players = [stack.enter_context(played.viewer("play?stage=1-1&ghost=none")) for _ in range(MOST_GAMES)]
        assert all(unpack(player.recv(PATIENCE_SECONDS))[0]["ready"] for player in players)
        with played.viewer("play?stage=1-1&ghost=none") as another:
            header, _ = unpack(another.recv(PATIENCE_SECONDS))
            assert not header["ready"]
            assert "try again later" in header["problem"]

    def is_free() -> bool:
        with played.viewer("play?stage=1-1&ghost=none") as player:
            return bool(unpack(player.recv(PATIENCE_SECONDS))[0]["ready"])

    wait_for(is_free)


@pytest.mark.parametrize("query", ["", "?stage=9-9", "?stage=1-1&ghost=/etc/passwd", "?stage=../../x&ghost=none"])
def test_only_stages_and_ghosts_that_there_are_can_be_played(played: PlayedPage, query: str) -> None:
    with pytest.raises(InvalidStatus):
        played.viewer(f"play{query}")


# -- a user's mistakes


def test_a_port_that_is_taken_is_said() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(UserError, match="taken by another program"):
        bind("127.0.0.1", taken.getsockname()[1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every port")
def test_a_port_of_the_administrators_is_said() -> None:
    with pytest.raises(UserError, match="rights of the administrator"):
        bind("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["256.1.1.1", "nowhere.invalid", "198.51.100.7", ""])
def test_an_address_that_is_not_here_is_said(host: str) -> None:
    if host:
        with pytest.raises(UserError, match="--watch-host must be an address of this machine"):
            bind(host, 0)


def test_ports_have_a_range() -> None:
    for parse in (parse_train, parse_eval):
        with pytest.raises(UserError, match="--watch must be a port from 1 to 65535"):
            parse(["--watch", "65536"])
    with pytest.raises(UserError, match="--port must be a port from 1 to 65535"):
        parse_watch(["some", "--port", "-1"])
    with pytest.raises(UserError, match="--serial does without"):
        parse_train(["--watch", "8080", "--serial"])


def test_settings_with_and_without_a_page_are_read_back() -> None:
    for watch in (None, 8080):
        config = TrainConfig(watch=watch)
        assert train_config_from_json(json.loads(json.dumps(describe_run(config)))) == config
