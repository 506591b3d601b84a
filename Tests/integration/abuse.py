"""What tests of abuse share: memory that must not move, and clients beside the abuse that must be served."""

import pytest

# What a page or two of the C library's stdio, or the kernel's counting by batches, may make of nothing.
TOLERANCE_KIB = 64
# The daemon's deadlines are in whole milliseconds.
TICK_SECONDS = 0.002


@pytest.fixture
def steady(binary):
    """with steady(daemon): memory is the same afterwards."""

    class Steady:
        def __init__(self, daemon):
            self.daemon = daemon

        def __enter__(self):
            # OpenSSL's arena is touched as connections come, up to what the plan says.
            self.is_measured = not binary.is_emulated and not self.daemon.door.is_tls
            if self.is_measured:
                # A first client of each version: what the C library maps lazily is there.
                self.daemon.connect("warm", 4).disconnect()
                self.daemon.connect("warm").ping().disconnect()
                self.before = self.daemon.status("RssAnon")

        def __exit__(self, failure, *_):
            if self.is_measured and not failure:
                # Not VmRSS: code that is used for the first time since READY is paged in from its file.
                grown = self.daemon.status("RssAnon") - self.before
                assert grown <= TOLERANCE_KIB, f"grown by {grown} KiB"

    return Steady


class Served:
    """A publisher and a subscriber beside the abuse; `check` is a round trip of both. The abuse goes on until the test
    ends it, so a broker that waited for it would never answer."""

    def __init__(self, daemon):
        self.reader = daemon.connect("served")
        self.reader.subscribe("served/#", qos=1)
        self.writer = daemon.connect("serving", 4)
        self.count = 0

    def check(self):
        self.count += 1
        assert self.writer.publish("served/topic", b"%d" % self.count, qos=1) == 0
        assert self.reader.message("served/topic").payload == b"%d" % self.count

    def close(self):
        self.reader.close()
        self.writer.close()


@pytest.fixture
def served():
    all_served = []

    def make(daemon):
        all_served.append(Served(daemon))
        return all_served[-1]

    yield make
    for each in all_served:
        each.close()


def counter(daemon, name, condition):
    return daemon.wait_for_value(f"$SYS/tapline/{name}", lambda value: condition(int(value)))
