import Foundation
import TaplineConfiguration
import Testing

/// The command as a user meets it: exit status, standard output, standard error.
@Suite("tapline, the command")
struct CommandTests {
  struct Answer {
    let status: Int32
    let output: String
    let error: String
  }

  /// Built beside the tests.
  static var executable: URL {
    URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("tapline")
  }

  static func tapline(_ arguments: String...) throws -> Answer {
    let process = Process()
    process.executableURL = executable
    process.arguments = arguments
    process.currentDirectoryURL = repository
    let output = Pipe()
    let error = Pipe()
    process.standardOutput = output
    process.standardError = error
    try process.run()
    // A few kilobytes each, less than a pipe holds.
    process.waitUntilExit()
    return Answer(
      status: process.terminationStatus,
      output: String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self),
      error: String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))
  }

  static let wrongUsage: [([String], String)] = [
    ([], "tapline: a command is missing"),
    (["rnu"], "tapline: unknown command 'rnu'; did you mean 'run'?"),
    (["xyzzy"], "tapline: unknown command 'xyzzy'"),
    (["--verison"], "tapline: unknown option '--verison'; did you mean '--version'?"),
    (["run"], "tapline run: the configuration is missing; expected -c FILE"),
    (["check", "--confg=x"], "tapline check: unknown option '--confg'; did you mean '--config'?"),
    (["check", "-c"], "tapline check: option '-c' needs a value"),
    (["check", "--config"], "tapline check: option '--config' needs a value"),
    (["check", "-x"], "tapline check: unknown option '-x'"),
    (["check", "-c", "a", "b"], "tapline check: unexpected argument 'b'"),
    (["check", "--json", "-c", "a"], "tapline check: unknown option '--json'"),
    (["plan", "--json=yes", "-c", "a"], "tapline plan: option '--json' takes no value"),
    (["passwd", "a"], "tapline passwd: expected FILE USER after the options"),
    (["passwd", "-b", "a", "b"], "tapline passwd: expected FILE USER PASSWORD after the options"),
    (["passwd", "-D", "-c", "a", "b"], "tapline passwd: -c and -D do not go together"),
    (["lines", "-c", "a", "--board", "b"], "tapline lines: -c and --board do not go together"),
  ]

  @Test(arguments: wrongUsage)
  func wrongUsageIs64(_ arguments: [String], _ error: String) throws {
    let process = Process()
    process.executableURL = Self.executable
    process.arguments = arguments
    let pipe = Pipe()
    process.standardError = pipe
    try process.run()
    process.waitUntilExit()
    let told = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(process.terminationStatus == 64)
    #expect(told.components(separatedBy: "\n").first == error)
    #expect(told.hasSuffix("Try 'tapline --help'.\n"))
  }

  @Test func helpAndVersion() throws {
    let version = try Self.tapline("--version")
    #expect(version.status == 0)
    #expect(version.output.hasPrefix("tapline "))
    #expect(try Self.tapline("--help").output.hasPrefix("Usage: tapline COMMAND"))
    for command in ["run", "check", "plan", "lines", "blink", "watch", "passwd"] {
      let help = try Self.tapline(command, "--help")
      #expect(help.status == 0)
      #expect(help.output.hasPrefix("Usage: tapline \(command) "))
      #expect(help.error.isEmpty)
    }
  }

  @Test func check() throws {
    let right = try Self.tapline("check", "-c", "board/simulated.yaml")
    #expect(right.status == 0)
    #expect(right.output.hasPrefix("board/simulated.yaml: ok (1 listener, 2 outputs, 2 inputs, 1 sensor, "))
    let missing = try Self.tapline("check", "--config=/nonexistent")
    #expect(missing.status == 78)
    #expect(missing.error == "/nonexistent: cannot be read: No such file or directory\n")
    // Any file that is no configuration.
    let wrong = try Self.tapline("check", "-c", "board/profiles/generic.yaml")
    #expect(wrong.status == 78)
    #expect(wrong.output.isEmpty)
    #expect(
      wrong.error.hasPrefix("board/profiles/generic.yaml:2:1: unknown key 'name' in the configuration; expected "))
    #expect(try Self.tapline("run", "-c", "board/profiles/generic.yaml").status == 78)
  }

  @Test func plan() throws {
    let table = try Self.tapline("plan", "-c", "board/simulated.yaml")
    #expect(table.status == 0)
    #expect(table.output.hasPrefix("POOL "))
    #expect(table.output.hasSuffix("\nfits\n"))
    let json = try Self.tapline("plan", "--json", "-c", "board/simulated.yaml")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    let pools = try #require(object["pools"] as? [[String: Any]])
    #expect(pools.compactMap { $0["bytes"] as? Int }.reduce(0, +) == object["loop_bytes"] as? Int)
  }

  @Test func lines() throws {
    let lines = try Self.tapline("lines", "--board", "simulated")
    #expect(lines.status == 0)
    let rows = lines.output.components(separatedBy: "\n")
    #expect(rows[0] == "simulated  simulated  28 lines")
    #expect(rows[1 + 1 + 17].split(separator: " ") == ["17", "GPIO17", "11", "input", "-"])
    let unknown = try Self.tapline("lines", "--board", "simulatd")
    #expect(unknown.status == 78)
    #expect(unknown.error.hasSuffix("; did you mean 'simulated'?\n"))
  }
}
