"""Makes the image once, and cards from it."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent)]
import client  # noqa: E402  after the line above
import guest  # noqa: E402

BUILD = HERE.parents[1] / ".build" / "image"
NOTES = []


def pytest_addoption(parser):
    parser.addoption("--image", type=Path, default=BUILD / "test.img")


@pytest.fixture(scope="session")
def image(request):
    path = request.config.getoption("--image")
    if path == BUILD / "test.img":
        subprocess.run([HERE / "build", "--no-xz", "--output", path], check=True)
    return path


@pytest.fixture
def note(request):
    """What is worth telling of a test that passed."""
    return lambda text: NOTES.append(f"{request.node.name}: {text}")


@pytest.fixture
def card(image, tmp_path):
    """A card that the image has just been written to."""
    path = guest.make_card(image, tmp_path / "card.img")
    yield path
    path.unlink()


@pytest.fixture
def power_on(card, request):
    """power_on(machine, ...): a board with the card in it; the one before is off by then."""
    boards = []

    def start(machine, **options):
        for each in boards:
            each.close()
        log = BUILD / f"{request.node.name}.{len(boards)}.log"
        boards.append(guest.Board(card, log, machine, **options))
        return boards[-1]

    yield start
    for each in boards:
        each.close()


@pytest.fixture
def connect():
    """connect(board, name, user, password): a client of its broker."""
    clients = []

    def make(board, name="test", user=None, password=None):
        clients.append(client.Client(board.mqtt_port, name, user, password))
        return clients[-1]

    yield make
    for each in clients:
        each.close()


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("image")
    for text in NOTES:
        terminalreporter.write_line(text)
