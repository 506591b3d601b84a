"""How long a test waits for what must come.

Only a test that fails waits so long: the others go on as soon as it has come. So the limit is generous, for a machine that
is slow and busy and emulates the daemon, and no test says how quickly something has to happen: it compares counts, the
order of events or the daemon's own time stamps.
"""

PATIENCE_SECONDS = 120
