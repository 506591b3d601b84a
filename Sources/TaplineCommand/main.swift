import CLinux
import TaplineConfiguration

clinux_exit(Command.main().rawValue)
