import CLinux

clinux_exit(Command.main().rawValue)
