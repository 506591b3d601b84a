// The executable `tapline`.
//
// This module owns the command line: arguments, subcommands, help, and what the process prints and exits with. It
// decides nothing about the board: Tapline does the work. It links CAllocations, which counts the executable's
// allocations.

import CLinux
import TaplineConfiguration

clinux_exit(Command.main().rawValue)
