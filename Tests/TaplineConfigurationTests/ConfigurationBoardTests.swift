import Foundation
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("Board profiles")
struct ConfigurationBoardTests {
  @Test(arguments: BoardProfile.shipped.map(\.description))
  func shippedProfileIsAccepted(_ name: String) throws {
    let profile = try #require(try profiles.profile(named: [UInt8](name.utf8)))
    #expect(string(profile.name) == name)
    #expect(profile.isSimulated == (name == "simulated"))
    guard name != "generic" else { return }
    // Every 40-pin header has its supplies at the same positions, and 28 lines.
    for position in [1, 17] { #expect(string(profile.words(atHeader: position)) == "3V3") }
    for position in [2, 4] { #expect(string(profile.words(atHeader: position)) == "5V") }
    for position in [6, 9, 14, 20, 25, 30, 34, 39] { #expect(string(profile.words(atHeader: position)) == "GND") }
    let lines = (1...40).compactMap { profile.line(atHeader: $0) }
    #expect(lines.count == 28)
    #expect(Set(lines).count == 28)
    #expect(profile.line(atHeader: 11).map(string) == "GPIO17")
    #expect(profile.line(atHeader: 40).map(string) == "GPIO21")
  }

  @Test func everyProfileFileIsShipped() throws {
    let files = try FileManager.default.contentsOfDirectory(
      atPath: repository.appendingPathComponent("board/profiles").path)
    #expect(Set(files) == Set(BoardProfile.shipped.map { "\($0.description).yaml" }))
  }

  @Test func modelsTellOneBoard() throws {
    let models = [
      "Raspberry Pi Zero 2 W Rev 1.0": "raspberry-pi-zero-2-w", "Raspberry Pi 3 Model B Plus Rev 1.3": "raspberry-pi-3",
      "Raspberry Pi 4 Model B Rev 1.5": "raspberry-pi-4", "Raspberry Pi 5 Model B Rev 1.0": "raspberry-pi-5",
    ]
    for (model, name) in models {
      let matching = try BoardProfile.shipped.filter {
        let profile = try #require(try profiles.profile(named: [UInt8]($0.description.utf8)))
        return !profile.model.isEmpty && model.utf8.starts(with: profile.model)
      }
      #expect(matching.map(\.description) == [name])
    }
  }

  /// Without `board`, the machine's model decides: `pin: {header: 11}` needs no more than the board itself.
  @Test func modelMakesTheHeaderKnown() throws {
    func read(_ more: String, model: String) throws -> Configuration {
      try Configuration(
        yaml: [UInt8]("\(more)taps: {outputs: {relay: {pin: {header: 11}}}}\n".utf8), file: [UInt8]("t.yaml".utf8),
        boards: profiles, model: [UInt8](model.utf8), hostName: [UInt8]("pi".utf8))
    }
    let configuration = try read("", model: "Raspberry Pi 3 Model B\0")
    #expect(configuration.board.map { string($0.name) } == "raspberry-pi-3")
    #expect(configuration.taps.outputs.first.map { string($0.pin.line) } == "GPIO17")
    #expect(
      try read("board: raspberry-pi-5\n", model: "Raspberry Pi 3").board.map { string($0.name) } == "raspberry-pi-5")
    for model in ["", "Radxa ROCK 5B", "Raspberry Pi 7"] {
      #expect(throws: ConfigurationErrors.self) { try read("", model: model) }
    }
  }

  @Test func headerPositions() throws {
    let profile = try #require(try profiles.profile(named: [UInt8]("raspberry-pi-4".utf8)))
    func position(_ line: String, _ chip: String, _ offset: Int) -> Int? {
      profile.headerPosition(line: [UInt8](line.utf8), chip: [UInt8](chip.utf8), offset: offset)
    }
    #expect(position("GPIO17", "elsewhere", 3) == 11)  // by name
    #expect(position("TXD1", "pinctrl-bcm2711", 14) == 8)  // named by the schematics: by offset
    #expect(position("", "pinctrl-bcm2711", 2) == 3)  // unnamed: by offset
    #expect(position("", "raspberrypi-exp-gpio", 2) == nil)  // another chip's offset
    #expect(position("GND", "elsewhere", 0) == nil)
    #expect(position("", "pinctrl-bcm2711", 45) == nil)
  }

  static let wrong: [(String, String)] = [
    ("", "t.yaml:1:1: a board profile without a 'name'"),
    ("name: u", "t.yaml:1:7: 'name' is 'u'; expected the file's name without .yaml"),
    (
      "name: t\nchip: [a]",
      "t.yaml:2:1: unknown key 'chip' in a board profile; expected name, model, chips, header or simulated; did you mean 'chips'?"
    ),
    ("name: t\nchips: a", "t.yaml:2:8: 'chips' is 'a'; expected a list of chip labels such as [pinctrl-bcm2711]"),
    ("name: t\nheader: {41: GPIO1}", "t.yaml:2:10: position '41'; expected a number from 1 to 40"),
    ("name: t\nheader: {1: [a]}", "t.yaml:2:13: expected a line's name, 3V3, 5V or GND"),
    ("name: t\nheader: {1: GPIO1, 2: GPIO1}", "t.yaml:2:23: 'GPIO1' is at position 1 already"),
    ("name: t\nheader: {1: 3V3, 2: 5V}", "t.yaml:2:9: the header lacks position 3; expected all 40"),
    ("name: t\nheader: {1: 3V3, 1: 5V}", "t.yaml:2:18: '1' is given twice; first at line 2, column 10"),
  ]

  @Test(arguments: wrong)
  func wrongProfileIsTold(_ yaml: String, _ expected: String) {
    do throws(ConfigurationErrors) {
      _ = try BoardProfile(yaml: [UInt8](yaml.utf8), file: [UInt8]("t.yaml".utf8))
      Issue.record("accepted")
    } catch {
      #expect(lines(of: error) == [expected])
    }
  }

  @Test func whereProfilesAreLookedFor() {
    func list(_ option: String?, _ file: String?) -> [String] {
      BoardDirectories(option: option.map { [UInt8]($0.utf8) }, configurationFile: file.map { [UInt8]($0.utf8) }).list
        .map(string)
    }
    #expect(list("/boards", "/etc/tapline.yaml") == ["/boards"])
    #expect(list(nil, nil) == ["/usr/share/tapline/boards", "board/profiles"])
    #expect(
      list(nil, "board/simulated.yaml") == [
        "/usr/share/tapline/boards", "board/profiles", "board/board/profiles",
      ])
    #expect(
      list(nil, "/etc/tapline.yaml") == [
        "/usr/share/tapline/boards", "/etc/profiles", "/etc/board/profiles", "board/profiles",
      ])
  }

  /// A binary alone, without its files, still simulates.
  @Test func simulatedNeedsNoFile() throws {
    let nowhere = BoardDirectories(option: [UInt8]("/nonexistent".utf8))
    #expect(try nowhere.profile(named: [UInt8]("simulated".utf8))?.isSimulated == true)
    #expect(try nowhere.profile(named: [UInt8]("generic".utf8))?.isSimulated == false)
    #expect(try nowhere.profile(named: [UInt8]("raspberry-pi-4".utf8)) == nil)
  }
}
