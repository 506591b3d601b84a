"""How long a test waits for what must come.

Only a test that fails waits so long; the others go on as soon as it has come. The limit is generous because the machine
may be slow, busy, and emulating the daemon. No test says how quickly something has to happen: tests compare counts, the
order of events, and lower bounds of time.
"""

PATIENCE_SECONDS = 120
