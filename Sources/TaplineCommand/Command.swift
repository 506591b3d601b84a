import CAllocations
import CLinux
import Tapline
import TaplineConfiguration

/// How the process ends: the numbers of sysexits.h, but for `doesNotFit`.
struct ExitStatus {
  let rawValue: Int32

  static var success: ExitStatus { ExitStatus(rawValue: 0) }
  /// `plan` only.
  static var doesNotFit: ExitStatus { ExitStatus(rawValue: 1) }
  static var usage: ExitStatus { ExitStatus(rawValue: 64) }
  static var fault: ExitStatus { ExitStatus(rawValue: 70) }
  static var configuration: ExitStatus { ExitStatus(rawValue: 78) }
}

/// The command `tapline`: reads its arguments, calls the library, prints.
enum Command {
  static func main() -> ExitStatus {
    // Nobody reads a message where this fails: at most, a descriptor that is there is standard output.
    guard clinux_fill_standard_descriptors() == 0 else { return .fault }
    // A reader that goes is an error of write(2), not our end.
    _ = clinux_signal_ignore(Int32(CLINUX_SIGPIPE))
    guard let first = argument(1) else {
      var text = Text("tapline: a command is missing\n")
      text.add(Help.commands)
      return refuse(text)
    }
    if first.first == UInt8(ascii: "-") { return global() }
    for subcommand in Subcommand.all where first == Text(subcommand.name).bytes { return run(subcommand) }
    var text = Text("tapline: unknown command ")
    text.add(quoted: first)
    text.addSuggestion(for: first, of: Subcommand.names)
    text.endLine()
    return refuse(text)
  }

  /// `tapline --help`, `tapline --version`.
  private static func global() -> ExitStatus {
    var options = OptionReader(first: 0, name: "tapline", known: [.help, .version])
    do throws(UsageError) {
      while let option = try options.next() {
        switch option {
        case .help: return succeed(Help.tapline)
        case .version:
          var text = Text("tapline ")
          text.add(Version.text)
          text.endLine()
          return succeed(text)
        case .configuration, .boards, .board, .json, .budget, .clients, .times, .on, .bias, .create, .batch, .delete,
          .iterations, .directory, .name, .client, .renew, .days, .group:
          break
        }
      }
      try options.end()
    } catch {
      return refuse(error.text)
    }
    return refuse(Text("tapline: a command is missing\n"))
  }

  private static func run(_ subcommand: Subcommand) -> ExitStatus {
    if subcommand.kind == .passwd { return changePassword(subcommand) }  // its words are files and users
    if subcommand.kind == .cert { return makeCertificates(subcommand) }
    var arguments = Arguments()
    do throws(UsageError) {
      if try arguments.read(subcommand) { return succeed(subcommand.help) }
    } catch {
      return refuse(error.text)
    }
    do throws(ConfigurationErrors) {
      switch subcommand.kind {
      case .run:
        let allocationCount = callocations_is_counting() ? callocations_count : nil
        return ExitStatus(rawValue: Server.run(try arguments.configuration(), allocationCount: allocationCount))
      case .check: return check(try arguments.configuration())
      case .plan:
        if let budget = arguments.budget {
          return propose(budget, clients: arguments.clientCount, try arguments.configurationOrNone())
        }
        return plan(try arguments.configuration(), json: arguments.json)
      case .lines: return lines(try arguments.boardProfile())
      case .safe: return safe(try arguments.configurationWithoutUsers())
      case .passwd: return changePassword(subcommand)
      case .cert: return makeCertificates(subcommand)
      case .blink, .watch: return lineTool(subcommand, arguments, try arguments.boardProfile())
      }
    } catch {
      write(error.text, to: standardError)
      return .configuration
    }
  }

  private static func changePassword(_ subcommand: Subcommand) -> ExitStatus {
    var command = PasswordCommand()
    do throws(UsageError) {
      if try command.read(subcommand) { return succeed(subcommand.help) }
    } catch {
      return refuse(error.text)
    }
    return command.run { write($0, to: standardError) }
  }

  private static func makeCertificates(_ subcommand: Subcommand) -> ExitStatus {
    var command = CertificateCommand()
    do throws(UsageError) {
      if try command.read(subcommand) { return succeed(subcommand.help) }
    } catch {
      return refuse(error.text)
    }
    return command.run({ write($0, to: standardOutput) }, { write($0, to: standardError) })
  }

  private static func check(_ configuration: Configuration) -> ExitStatus {
    do throws(Server.StartError) {
      let report = try Server.checkFiles(configuration)
      writeLines("tapline: warning: ", report.warnings)
      writeLines("", report.problems)
      if !report.problems.isEmpty { return .configuration }
    } catch {
      writeLines("tapline: ", [error.text])
      return .fault
    }
    let counts = configuration.counts
    var text = Text(configuration.file)
    text.add(": ok (")
    text.add(counts.listeners, of: "listener")
    text.add(", ")
    if let users = configuration.users {
      text.add(users.passwordCount, of: "user")
      text.add(", ")
    }
    text.add(counts.outputs, of: "output")
    text.add(", ")
    text.add(counts.inputs, of: "input")
    text.add(", ")
    if counts.counters > 0 {
      text.add(counts.counters, of: "counter")
      text.add(", ")
    }
    text.add(counts.sensors, of: "sensor")
    if counts.levels > 0 {
      text.add(", ")
      text.add(counts.levels, of: "dimmer")
    }
    text.add(", ")
    if counts.rules > 0 {
      text.add(counts.rules, of: "rule")
      text.add(", ")
    }
    let plan = Server.plan(configuration)
    text.add(mebibytes: plan.totalBytes)
    text.add(")\n")
    text.add(plan.tapsLine)
    return succeed(text)
  }

  private static func plan(_ configuration: Configuration, json: Bool) -> ExitStatus {
    let plan = Server.plan(configuration)
    let budget = MemoryBudget.now
    let status = succeed(json ? plan.json(budget) : plan.table(budget))
    guard status.rawValue == 0 else { return status }
    return plan.fits(budget) ? .success : .doesNotFit
  }

  private static func propose(_ budget: Int, clients: Int, _ configuration: Configuration) -> ExitStatus {
    switch PlanBudget(budget, clients: clients, configuration) {
    case .fits(let text): return succeed(text)
    case .needs(let byteCount):
      write(PlanBudget.complaint(budget, clients: clients, needs: byteCount), to: standardError)
      return .doesNotFit
    }
  }

  private static func lines(_ board: BoardProfile?) -> ExitStatus {
    let listing = LineListing(board: board)
    if let problem = listing.problem {
      _ = succeed(listing.text)
      var text = Text("tapline: ")
      text.add(problem)
      text.endLine()
      write(text, to: standardError)
      return .fault
    }
    return succeed(listing.text.count > 0 ? listing.text : Text("no GPIO chips\n"))
  }

  private static func safe(_ configuration: Configuration) -> ExitStatus {
    let outputs = SafeOutputs(configuration)
    _ = succeed(outputs.text)
    return outputs.isSafe ? .success : .fault
  }

  private static func lineTool(
    _ subcommand: Subcommand, _ arguments: Arguments, _ board: BoardProfile?
  ) -> ExitStatus {
    let tools = LineTools(board: board) { write($0, to: standardOutput) }
    do throws(LineTools.Problem) {
      if subcommand.kind == .watch {
        try tools.watch(arguments.words, bias: arguments.bias, edgesMax: arguments.times ?? 0)
      } else {
        guard arguments.words.count == 1 else {
          return refuse(Text("tapline blink: expected one LINE such as GPIO17\n"))
        }
        try tools.blink(arguments.words[0], times: arguments.times ?? 5, onMilliseconds: arguments.onMilliseconds)
      }
      return .success
    } catch {
      var text = Text(subcommand.fullName)
      text.add(": ")
      text.add(error.text)
      text.endLine()
      write(text, to: standardError)
      return .fault
    }
  }

  // Output

  private static var standardOutput: Int32 { 1 }
  private static var standardError: Int32 { 2 }

  private static func succeed(_ text: StaticString) -> ExitStatus { succeed(Text(text)) }
  /// A reader that has gone, `tapline plan | head -1`, is no fault.
  private static func succeed(_ text: Text) -> ExitStatus {
    write(text, to: standardOutput) ? .success : .fault
  }

  private static func refuse(_ text: Text) -> ExitStatus {
    var text = text
    text.add("Try 'tapline --help'.\n")
    write(text, to: standardError)
    return .usage
  }

  private static func writeLines(_ start: StaticString, _ lines: [Text]) {
    for line in lines {
      var text = Text(start)
      text.add(line)
      text.endLine()
      write(text, to: standardError)
    }
  }

  @discardableResult
  @inline(never) private static func write(_ text: Text, to descriptor: Int32) -> Bool {
    text.bytes.withUnsafeBytes { bytes in
      var start = 0
      while start < bytes.count {
        let count = clinux_write(descriptor, bytes.baseAddress! + start, bytes.count - start)
        if count == -Int64(CLINUX_EINTR) { continue }
        guard count > 0 else { return count == -Int64(CLINUX_EPIPE) }
        start += Int(count)
      }
      return true
    }
  }
}

/// The argument at `index`, nil beyond the last.
func argument(_ index: Int) -> [UInt8]? {
  clinux_argument(Int32(index)).map { bytes(of: $0) }
}

/// A C string's bytes.
func bytes(of text: UnsafePointer<CChar>) -> [UInt8] {
  var bytes: [UInt8] = []
  var index = 0
  while text[index] != 0 {
    bytes.append(UInt8(bitPattern: text[index]))
    index += 1
  }
  return bytes
}
