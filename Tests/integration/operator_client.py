"""The client of the board's tests (board/client.py), with the patience of these."""

import sys

from daemon import REPOSITORY
from patience import PATIENCE_SECONDS

sys.path.append(str(REPOSITORY / "board"))
import client as board  # noqa: E402


class Client(board.Client):
    def wait(self, condition, what, seconds=PATIENCE_SECONDS):
        return super().wait(condition, what, seconds)

    def expect(self, topic, payload, since=0, seconds=PATIENCE_SECONDS):
        return super().expect(topic, payload, since, seconds)
