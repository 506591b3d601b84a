import Bounded
import Foundation
import MQTTBroker
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("What is written about the configuration is true")
struct ConfigurationDocumentationTests {
  static func text(_ path: String) throws -> String {
    String(decoding: try Data(contentsOf: repository.appendingPathComponent(path)), as: UTF8.self)
  }

  /// The bodies of all blocks fenced as YAML alone: whole configurations. One of another program has a word more.
  static func examples(_ page: String = "docs/configuration.md") throws -> [String] {
    try text(page).components(separatedBy: "```yaml\n").dropFirst().map { $0.components(separatedBy: "```")[0] }
  }

  @Test(arguments: [
    ("docs/configuration.md", 4), ("docs/gpio.md", 20), ("docs/serial.md", 1), ("README.md", 1),
    ("docs/security.md", 4),
  ])
  func everyExampleIsAccepted(_ page: String, _ count: Int) throws {
    let examples = try Self.examples(page)
    #expect(examples.count >= count)
    for example in examples {
      #expect(errorLines([UInt8](example.utf8), readsUserFiles: false) == [], "\(example)")
    }
  }

  @Test func theExampleFileIsShownWhole() throws {
    let file = try Self.text("docs/example.yaml")
    #expect(try Self.examples("docs/gpio.md").contains(file))
    let taps = try readConfiguration(file).taps
    #expect(!taps.outputs.isEmpty && !taps.inputs.isEmpty && !taps.counters.isEmpty && !taps.sensors.isEmpty)
    #expect(!taps.levels.isEmpty && !taps.rules.isEmpty && !taps.groups.isEmpty && taps.discovery != nil)
  }

  /// By the lists of keys in the reader's own sources, so that a new list cannot be forgotten here.
  @Test func everyKeyThatIsReadIsInTheReference() throws {
    let folder = repository.appendingPathComponent("Sources/TaplineConfiguration")
    var keys: Set<String> = []
    for file in try FileManager.default.subpathsOfDirectory(atPath: folder.path) where file.hasSuffix(".swift") {
      let source = try Self.text("Sources/TaplineConfiguration/\(file)")
      for list in source.matches(of: /[kK]eys: (?:\[StaticString\] \{)?([^}()]*?)[\]}]/) {
        for key in list.1.matches(of: /"([a-z0-9_]+)"/) { keys.insert(String(key.1)) }
      }
    }
    #expect(
      keys.count > 70 && keys.isSuperset(of: ["pin", "drive", "channels", "listeners", "unix", "presses", "led"]))
    let reference = try Self.text("docs/configuration.md")
    for key in keys { #expect(reference.contains("`\(key)`"), "\(key)") }
  }

  @Test func theCompleteExampleSaysWhatItSeems() throws {
    let configuration = try readConfiguration(
      try #require(try Self.examples().first), readsUserFiles: false)
    #expect(
      configuration.counts
        == Configuration.Counts(listeners: 6, outputs: 6, inputs: 3, counters: 1, sensors: 9, levels: 3, rules: 6))
    #expect(configuration.board.map { string($0.name) } == "raspberry-pi-4")
    #expect(
      configuration.taps.outputs.map { string($0.pin.line) } == [
        "GPIO17", "GPIO22", "GPIO18", "GPIO19", "GPIO20", "GPIO21",
      ])
    #expect(configuration.limits.packetBytesMax == 65_536)
  }

  @Test func everyKeyIsDescribedAndShown() throws {
    let document = try Self.text("docs/configuration.md")
    let examples = try Self.examples().joined(separator: "\n")
    let shown = [
      Configuration.keys, ListenerSettings.keys, TapsReader.keys, TapsReader.outputKeys, TapsReader.groupKeys,
      TapsReader.leaseKeys, TapsReader.persistKeys, TapsReader.inputKeys,
      TapsReader.debounceKeys, TapsReader.eventKeys, TapsReader.counterKeys, TapsReader.rateKeys,
      TapsReader.publishKeys, TapsReader.ruleKeys, TapsReader.ruleMessageKeys, TapsReader.sensorKeys,
      TapsReader.pinKeys, TapsReader.pwmKeys, TapsReader.ledKeys,
      TapsReader.discoveryKeys, TapsReader.homeAssistantKeys, ["presses", "line", "every", "for"],
      LogReader.keys, UserReader.keys, UserReader.userRuleKeys,
    ].flatMap { $0 }
    for key in shown { #expect(examples.contains("\(key):"), "an example of \(key)") }
    for key in shown + BoardProfile.keys
    where !["chip", "line", "header", "time", "mode", "long", "multi", "min", "max"].contains(key.description) {
      #expect(document.contains("| `\(key)` |"), "a row for \(key)")
    }
  }

  @Test func everyLimitHasItsRow() throws {
    let document = try Self.text("docs/configuration.md")
    for key in LimitKey.all {
      var defaults: [String] = []
      for profile in Limits.Profile.all {
        var settings = LimitSettings()
        settings.broker = Limits(profile)
        defaults.append("\(key.get(settings))")
      }
      // What is the same in all profiles stands once.
      let shown = Set(defaults).count == 1 ? defaults[0] : defaults.joined(separator: ", ")
      let row = "| `\(key.name)` | \(key.unit) | \(shown) | \(key.range.lowerBound) to \(key.range.upperBound) |"
      #expect(document.contains(row), "\(row)")
    }
    #expect(document.contains("| `profile` | `board`, `house` or `site` | `board` | |"))
  }

  @Test func theDemoConfigurationIsAccepted() throws {
    let file = repository.appendingPathComponent("board/simulated.yaml").path
    let configuration = try Configuration(
      file: [UInt8](file.utf8), boards: [UInt8](repository.appendingPathComponent("board/profiles").path.utf8))
    #expect(configuration.board?.isSimulated == true)
    #expect(configuration.listeners.map(\.endpoint) == [.tcp(address: [UInt8]("127.0.0.1".utf8), port: 1883)])
    #expect(configuration.taps.outputs.contains { string($0.name) == "relay" })
    // Each press is of a line that some input has.
    let lines = configuration.taps.inputs.map { string($0.pin.line) }
    for press in configuration.presses { #expect(lines.contains("GPIO\(press.offset)")) }
    #expect(!configuration.presses.isEmpty)
  }

  @Test func theManualNamesEveryCommandAndOption() throws {
    let manual = try Self.text("docs/tapline.1.md")
    for word in [
      "run", "check", "plan", "lines", "blink", "watch", "--config", "--board", "--boards", "--json", "--budget",
      "--clients", "--times", "--on",
      "--bias", "--help", "--version",
    ] {
      #expect(manual.contains("**\(word)**"), "\(word)")
    }
  }
}
