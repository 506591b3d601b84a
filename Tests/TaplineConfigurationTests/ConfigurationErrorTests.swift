import Foundation
import TaplineConfiguration
import Testing

@Suite("Wrong configurations are told by line and column")
struct ConfigurationErrorTests {
  static let keys = [
    WrongCase(
      "listners: []",
      "t.yaml:1:1: unknown key 'listners' in the configuration; expected listeners, users, board, limits, taps, log, sysfs_root or "
        + "simulation; did you mean 'listeners'?"),
    WrongCase(
      "# nothing like it\ncolour: red",
      "t.yaml:2:1: unknown key 'colour' in the configuration; expected listeners, users, board, limits, taps, log, sysfs_root or "
        + "simulation"),
    WrongCase(
      "- taps",
      "t.yaml:1:1: the configuration is a list; expected keys and values: listeners, users, board, limits, taps, log, sysfs_root or "
        + "simulation"),
    WrongCase("sysfs_root: sys", "t.yaml:1:13: 'sysfs_root' is 'sys'; expected a path that begins with /"),
    WrongCase("sysfs_root:", "t.yaml:1:1: 'sysfs_root' has no value; expected a path that begins with /"),
    WrongCase(
      "board: [simulated]", "t.yaml:1:8: 'board' is a list; expected a board profile's name such as raspberry-pi-4"),
  ]

  static let twice = [
    WrongCase("taps: {}\ntaps: {}", "t.yaml:2:1: 'taps' is given twice; first at line 1, column 1"),
    WrongCase(
      output("pin: GPIO1, active: low, active: low"),
      "t.yaml:3:38: 'active' is given twice; first at line 3, column 25"),
    WrongCase(
      "taps:\n  outputs:\n    a: {pin: GPIO1}\n    a: {pin: GPIO2}",
      "t.yaml:4:5: 'a' is given twice; first at line 3, column 5"),
    WrongCase(
      "taps:\n  outputs:\n    a: {pin: GPIO17}\n  inputs:\n    b: {pin: 17}",
      "t.yaml:5:14: line 'GPIO17' is taken by 'a' at line 3"),
    WrongCase(
      "board: raspberry-pi-5\ntaps:\n  outputs:\n    a: {pin: {header: 11}}\n    b: {pin: {chip: pinctrl-rp1, line: 17}}",
      "t.yaml:5:14: line '17' is taken by 'a' at line 4"),
  ]

  static let boards = [
    WrongCase("simulation: {}", "t.yaml:1:1: 'simulation' without 'board: simulated'"),
    WrongCase("board: generic\nsimulation: {}", "t.yaml:2:1: 'simulation' goes with 'board: simulated' only"),
    WrongCase(
      "board: simulated\nsimulation: {presses: [{line: GPIO28}]}",
      "t.yaml:2:31: 'line' is 'GPIO28'; expected a simulated line, GPIO0 to GPIO27"),
    WrongCase(
      "board: simulated\nsimulation: {presses: [{every: 5s}]}",
      "t.yaml:2:24: a press without a 'line'; expected a simulated line such as GPIO27"),
    WrongCase(
      "board: simulated\nsimulation: {presses: [{line: GPIO27, every: 1s, for: 1s}]}",
      "t.yaml:2:24: a press is held for less time than from press to press"),
  ]

  /// What a configuration needs no part of YAML for.
  static let syntax = [
    WrongCase("taps: &a {}", "t.yaml:1:7: anchors (&name) are not supported; write the value where it is used"),
    WrongCase(
      "taps: *a", "t.yaml:1:7: aliases (*name) are not supported; write the value here (quote it if it begins with *)"),
    WrongCase("taps: !!map {}", "t.yaml:1:7: tags (!name) are not supported; values need no type"),
    WrongCase("taps: {<<: {}}", "t.yaml:1:8: merge keys (<<) are not supported"),
    WrongCase("{[a]: b}", "t.yaml:1:2: a key must be a word"),
    WrongCase("taps:\n\tbase: a", "t.yaml:2:1: not YAML: found character that cannot start any token"),
    WrongCase("taps: {base: a", "t.yaml:2:1: not YAML: did not find expected ',' or '}'"),
    WrongCase("taps: {}\n---\ntaps: {}", "t.yaml:2:1: not YAML: a second document"),
    WrongCase("taps: {base: 'é\u{1}'}", "t.yaml:1:16: not UTF-8 text"),
    WrongCase(
      String(repeating: "[", count: 17) + String(repeating: "]", count: 17),
      "t.yaml:1:17: nested deeper than 16 levels"),
  ]

  @Test(arguments: [keys, twice, boards, syntax].flatMap { $0 }) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }

  @Test func unknownBoardSaysWhereItLooked() {
    let directory = string(profiles.list[0])
    #expect(
      errorLines([UInt8]("board: raspbery-pi-4".utf8)) == [
        "t.yaml:1:8: no board profile 'raspbery-pi-4' in \(directory); did you mean 'raspberry-pi-4'?"
      ])
    // A name is not a path.
    #expect(errorLines([UInt8]("board: ../../etc/passwd".utf8)).count == 1)
  }

  @Test func allErrorsAreToldInTheOrderOfTheFile() {
    let yaml = "taps: {base: '#'}\nlimits: {inflight: 0}\nlisteners: [{adress: a, address: 127.0.0.1}]\nbord: x\n"
    let places = errorLines([UInt8](yaml.utf8)).map { $0.split(separator: " ")[0] }
    #expect(places == ["t.yaml:1:14:", "t.yaml:2:20:", "t.yaml:3:14:", "t.yaml:4:1:"])
  }

  @Test func atMostTwentyErrorsAreTold() {
    let yaml = (1...50).map { "key\($0): 1\n" }.joined()
    let told = errorLines([UInt8](yaml.utf8))
    #expect(told.count == 21)
    #expect(told.last == "t.yaml: and 30 more errors")
  }

  @Test func aFileThatIsNotTextIsRefused() {
    #expect(errorLines([0x61, 0x3A, 0x0A, 0x20, 0xFF]) == ["t.yaml:2:2: not UTF-8 text"])
    #expect(errorLines([0xC3]) == ["t.yaml:1:1: not UTF-8 text"])
    #expect(errorLines([UInt8](repeating: 0x20, count: (1 << 20) + 1)) == ["t.yaml: the file is larger than 1 MiB"])
    #expect(
      errorLines([UInt8](("[" + String(repeating: "a,", count: 20_000) + "]").utf8)) == [
        "t.yaml:1:32768: too many values in one file"
      ])
  }

  @Test func aFileThatCannotBeReadIsNamed() {
    do throws(ConfigurationErrors) {
      _ = try Configuration(file: [UInt8]("/nonexistent/t.yaml".utf8))
      Issue.record("it was read")
    } catch {
      #expect(told(error) == ["/nonexistent/t.yaml: cannot be read: No such file or directory"])
    }
  }

  private func told(_ errors: ConfigurationErrors) -> [String] {
    String(decoding: errors.text.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  /// No prefix of a good file and no change of one byte traps, and each is either taken or told about.
  @Test func damagedFilesNeverTrap() throws {
    let whole = [UInt8](try Data(contentsOf: repository.appendingPathComponent("board/simulated.yaml")))
    for length in 0..<whole.count { _ = errorLines([UInt8](whole[..<length])) }
    var seed: UInt64 = 7
    for _ in 0..<1000 {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      var damaged = whole
      damaged[Int(seed >> 33) % whole.count] = UInt8(truncatingIfNeeded: seed >> 25)
      _ = errorLines(damaged)
    }
  }
}
