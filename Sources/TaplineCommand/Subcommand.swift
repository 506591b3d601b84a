import TaplineConfiguration

/// A command of `tapline`.
struct Subcommand {
  enum Kind { case run, check, plan, lines, safe, blink, watch, passwd, cert }

  let kind: Kind
  let name: StaticString
  /// As errors begin.
  let fullName: StaticString
  let options: [Option]
  let needsFile: Bool
  let help: StaticString

  static var all: [Subcommand] {
    [
      Subcommand(
        kind: .run, name: "run", fullName: "tapline run", options: [.configuration, .boards, .help], needsFile: true,
        help: Help.run),
      Subcommand(
        kind: .check, name: "check", fullName: "tapline check", options: [.configuration, .boards, .help],
        needsFile: true, help: Help.check),
      Subcommand(
        kind: .plan, name: "plan", fullName: "tapline plan",
        options: [.configuration, .boards, .json, .budget, .clients, .help], needsFile: true, help: Help.plan),
      Subcommand(
        kind: .lines, name: "lines", fullName: "tapline lines", options: [.configuration, .board, .boards, .help],
        needsFile: false, help: Help.lines),
      Subcommand(
        kind: .safe, name: "safe", fullName: "tapline safe", options: [.configuration, .boards, .help],
        needsFile: true, help: Help.safe),
      Subcommand(
        kind: .blink, name: "blink", fullName: "tapline blink",
        options: [.configuration, .board, .boards, .times, .on, .help], needsFile: false, help: Help.blink),
      Subcommand(
        kind: .watch, name: "watch", fullName: "tapline watch",
        options: [.configuration, .board, .boards, .times, .bias, .help], needsFile: false, help: Help.watch),
      Subcommand(
        kind: .passwd, name: "passwd", fullName: "tapline passwd",
        options: [.create, .batch, .delete, .iterations, .help], needsFile: false, help: Help.passwd),
      Subcommand(
        kind: .cert, name: "cert", fullName: "tapline cert",
        options: [.directory, .name, .client, .renew, .days, .group, .help], needsFile: false, help: Help.cert),
    ]
  }

  /// Words after the options are lines.
  var takesLines: Bool {
    switch kind {
    case .blink, .watch: true
    case .run, .check, .plan, .lines, .safe, .passwd, .cert: false
    }
  }

  static var names: [StaticString] { all.map { $0.name } }
}

/// What `--help` prints. docs/tapline.1.md says the same at length.
enum Help {
  static var commands: StaticString {
    """
    Commands:
      run -c FILE             serve until told to stop
      check -c FILE           say whether the configuration is right
      plan -c FILE [--json]   say what memory it takes, and whether that fits
      plan --budget BYTES     propose limits that fit
      lines [-c FILE]         list GPIO chips and lines
      safe -c FILE            bring outputs to their safe states after a crash
      blink LINE              switch a line to and fro, to find its wire
      watch [LINE]...         print the changes of lines
      passwd FILE USER        set, or with -D delete, a user's password in a password file
      cert [-d DIR]           make certificates for TLS: an authority, the server's, clients'

    """
  }

  static var tapline: StaticString {
    """
    Usage: tapline COMMAND [OPTION]...
    An MQTT broker that is the board's GPIO and sensor gateway too.

    Commands:
      run -c FILE             serve until told to stop
      check -c FILE           say whether the configuration is right
      plan -c FILE [--json]   say what memory it takes, and whether that fits
      plan --budget BYTES     propose limits that fit
      lines [-c FILE]         list GPIO chips and lines
      safe -c FILE            bring outputs to their safe states after a crash
      blink LINE              switch a line to and fro, to find its wire
      watch [LINE]...         print the changes of lines
      passwd FILE USER        set, or with -D delete, a user's password in a password file
      cert [-d DIR]           make certificates for TLS: an authority, the server's, clients'

    Options:
      -h, --help              this text; after a command, about that command
      -V, --version           the version

    Exit status: 0 success, 64 wrong usage, 78 wrong configuration, 70 any other fault;
    plan: 1 when the memory does not fit.

    """
  }

  static var run: StaticString {
    """
    Usage: tapline run -c FILE [--boards DIR]
    Serves MQTT clients, lines and sensors as FILE says, until SIGINT or SIGTERM.

      -c, --config FILE       the configuration, in YAML
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }

  static var check: StaticString {
    """
    Usage: tapline check -c FILE [--boards DIR]
    Reads FILE and says everything that is wrong with it, or that it is right. Starts nothing.

      -c, --config FILE       the configuration, in YAML
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }

  static var plan: StaticString {
    """
    Usage: tapline plan -c FILE [--json] [--boards DIR]
           tapline plan --budget BYTES [--clients N] [-c FILE] [--boards DIR]
    Prints every pool of memory that FILE's limits ask for, their sum, whether this machine has it, and what the
    profiles of limits would take. Exit status 1 when it has not.
    With --budget: prints the largest limits for N clients that fit, for FILE and its taps if it is named. Exit status 1
    when there are none.

      -c, --config FILE       the configuration, in YAML
          --json              one JSON object in place of the table
          --budget BYTES      such as 16M; the kernel's buffers for sockets are a part of it
          --clients N         connected at the same time; 64 by default
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }

  static var blink: StaticString {
    """
    Usage: tapline blink [OPTION]... LINE
    Switches LINE to the other level and back, and gives it back as it was found.
    LINE is a name such as GPIO17, a number as in GPIOn, header:11 for a position on the header, or CHIP:OFFSET.

      -n, --times N           how often; 5 by default
          --on MS             milliseconds of each level; 500 by default
      -c, --config FILE       a configuration, for its board
          --board NAME        a board profile; without it, what this machine's model says
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }

  static var watch: StaticString {
    """
    Usage: tapline watch [OPTION]... [LINE]...
    Prints every change of the lines, with the kernel's time of it in seconds since boot, until Ctrl-C.
    LINE is a name such as GPIO17, a number as in GPIOn, header:11 for a position on the header, or CHIP:OFFSET.
    Without LINE all free lines of the board's header.

          --bias BIAS         as-is, disabled, pull-up or pull-down; as-is by default
      -n, --times N           end after N changes
      -c, --config FILE       a configuration, for its board
          --board NAME        a board profile; without it, what this machine's model says
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }

  static var passwd: StaticString {
    """
    Usage: tapline passwd [-c] [-I N] FILE USER
           tapline passwd [-c] [-I N] -b FILE USER PASSWORD
           tapline passwd -D FILE USER
    Sets USER's password in FILE, whose format is mosquitto's; adds USER if there is no such user. Asks for the password
    twice on a terminal, without showing it; otherwise reads one line from standard input.

      -c, --create            make FILE, readable for you only; refused if it is there
      -b, --batch             take PASSWORD from the command line, where other users and the shell's history see it
      -D, --delete            remove USER
      -I, --iterations N      how much a guess costs, 1 to 1000000; 20000 by default
      -h, --help              this text

    """
  }

  static var cert: StaticString {
    """
    Usage: tapline cert [-d DIR] [--name NAME]... [--client USER]... [OPTION]...
    Makes what TLS needs, for those who have no authority of their own. In DIR, where they are missing:
      ca.crt, ca.key          an authority, for ten years
      server.crt, server.key  this machine's certificate, with its host name, HOST.local, localhost and its addresses
      USER.crt, USER.key      for each --client: a certificate that makes its holder user USER
    What is there is kept, and no key is ever replaced. Prints the lines for the configuration and a command to try it.

      -d, --directory DIR     where; the working directory by default
          --name NAME         one more DNS name or address of the server
          --client USER       a client's certificate
          --renew             make the server's certificate anew, with the names that it has and new ones; with
                              --client, those clients' certificates. Keys stay
          --days N            how long certificates are valid: 825 by default, and no more for the server's
          --group GROUP       who may read server.key beside its owner, such as tapline
      -h, --help              this text

    """
  }

  static var lines: StaticString {
    """
    Usage: tapline lines [-c FILE | --board NAME] [--boards DIR]
    Lists this machine's GPIO chips and their lines: names, header positions, directions, and who uses them.

      -c, --config FILE       a configuration, for its board
          --board NAME        a board profile; without it, what this machine's model says
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }

  static var safe: StaticString {
    """
    Usage: tapline safe -c FILE [--boards DIR]
    Brings FILE's outputs to the states that on_exit asks for, when no daemon runs: after a crash or a kill.
    For ExecStopPost= of a service. Tries all, for 2 seconds; exit status 0 only if all are safe.

      -c, --config FILE       the configuration, in YAML
          --boards DIR        where board profiles are
      -h, --help              this text

    """
  }
}
