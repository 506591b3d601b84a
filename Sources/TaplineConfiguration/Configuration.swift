// One YAML file becomes settings that are checked, or a list of all its errors with line and column.
//
//   Document/  YAML with places, errors, scalars as numbers; a `Section` is a mapping whose keys are known
//   Readers/   a reader for each list of keys
//
// This module owns the keys, what an absent key stands for, and the words of errors. What a setting means, and which
// settings contradict each other (`problem`), belongs to the module that the setting is for.
//
// It imports the modules below for their settings, and CYAML, which `ConfigurationDocument` alone calls; nothing of the
// server. It reads files through LinuxIO (the configuration, board profiles, the machine's model) and writes none. It
// runs at the start only and may allocate: what it hands out is values that own their arrays.

import Bounded
public import LinuxIO
public import MQTTBroker
public import Taps

/// A button of the simulated board that presses itself.
public struct SimulatedPress: Sendable {
  /// The line's offset on the simulated chip.
  public var offset: Int
  /// Milliseconds from press to press.
  public var everyMilliseconds: Int64
  /// Milliseconds that it is held, less than `everyMilliseconds`.
  public var forMilliseconds: Int64
}

/// Everything that one YAML file says, checked: what is here can be started, as far as a file can know.
/// docs/configuration.md describes every key.
public struct Configuration: Sendable {
  /// As it was given; errors begin with it.
  public let file: [UInt8]
  /// One or more.
  public var listeners: [ListenerSettings] = [.default]
  /// The named profile or, without a name, the one that this machine's model has; nil for neither.
  public var board: BoardProfile?
  public var limits = Limits()
  /// The profile from which limits come that the file does not name.
  public var limitProfile = Limits.Profile.board
  /// Whether limits differ from those of the profile by what the file says.
  public var isLimitProfileChanged = false
  /// What the taps need of the limits.
  public var limitNeeds = LimitNeeds()
  public var loopLimits = LoopLimits()
  /// As the file has them; what they come to with its users is in `users`.
  public var userLimits = UserLimits()
  public var taps: TapSettings
  public var log = LogSettings()
  /// Who may connect, and who may do what; nil: whoever a listener lets in, and everything.
  public var users: UserSettings?
  /// What stands in place of `/sys`.
  public var sysfsRoot: [UInt8] = [UInt8](ascii: "/sys")
  /// Only with a simulated board.
  public var presses: [SimulatedPress] = []
  /// `--boards DIR`, with which it is read again.
  package var boardsOption: [UInt8]?
  package let fingerprints: [SectionFingerprint]

  static var keys: [StaticString] {
    ["listeners", "users", "board", "limits", "taps", "log", "sysfs_root", "simulation"]
  }

  /// Reads a file. Throws everything that is wrong with it, or with the board profile that it names.
  /// - Parameters:
  ///   - boards: `--boards DIR`.
  ///   - readsUserFiles: whether the files that `users` names are read, so that an error in them is one of the configuration.
  public init(
    file: [UInt8], boards: [UInt8]? = nil, readsUserFiles: Bool = true
  ) throws(ConfigurationErrors) {
    let yaml: [UInt8]
    do throws(LinuxError) {
      yaml = try FileText.read(file)
    } catch {
      throw FileText.errors(file, error)
    }
    let directories = BoardDirectories(option: boards, configurationFile: file)
    try self.init(
      yaml: yaml, file: file, boards: directories, model: BoardDirectories.machineModel(),
      hostName: Process.hostName().withBytes { $0.array() }, readsUserFiles: readsUserFiles)
    boardsOption = boards
  }

  /// - Parameters:
  ///   - file: as errors name it.
  ///   - model: this machine's, which decides the profile where none is named; empty when it says none.
  ///   - hostName: for the default base topic.
  ///   - readsUserFiles: whether the files that `users` names are read.
  public init(
    yaml: [UInt8], file: [UInt8], boards: BoardDirectories, model: [UInt8] = [], hostName: [UInt8],
    readsUserFiles: Bool = true
  ) throws(ConfigurationErrors) {
    self.file = file
    let errors = ErrorList(file: file)
    let document = try ConfigurationDocument(yaml, errors: errors)
    let top = Section(document.root, "the configuration", keys: Configuration.keys, errors: errors)
    var fingerprints: [SectionFingerprint] = []
    for entry in document.root.entries { fingerprints.append(SectionFingerprint(entry)) }
    self.fingerprints = fingerprints
    let limitReader = LimitReader(top)
    var userReader = UserReader(top, nameBytesMax: limitReader.users.userNameBytesMax)
    listeners = ListenerSettings.readList(
      top, hasPasswordFile: userReader.hasPasswordFile, hasUnixUsers: userReader.hasUnixUsers)
    userLimits = limitReader.users
    users = userReader.finish(limitReader.users, limitReader, readsFiles: readsUserFiles)
    let boardErrors: ConfigurationErrors?
    do throws(ConfigurationErrors) {
      board = try Configuration.readBoard(top, boards, model: model)
      boardErrors = nil
    } catch {
      boardErrors = error
    }
    let base = [UInt8](ascii: "tap/") + (hostName.isEmpty ? [UInt8](ascii: "board") : hostName)
    let tapsRead = TapsReader.read(top, limits: limitReader.withoutTaps, board: board, defaultBase: base)
    taps = tapsRead.settings
    limitNeeds = tapsRead.needs
    let limitSettings = limitReader.settings(for: limitNeeds)
    limits = limitSettings.broker
    limitProfile = limitSettings.profile
    isLimitProfileChanged = limitSettings.isProfileChanged
    loopLimits = limitSettings.loop
    log = LogReader.read(top)
    if let root = top.path("sysfs_root", byteCountMax: 200) { sysfsRoot = root }
    presses = Configuration.readSimulation(top, board)
    try ErrorList.check([errors] + userReader.fileErrors)
    // A profile's errors are of another file; this one's come first.
    if let boardErrors { throw boardErrors }
  }

  private static func readBoard(
    _ top: Section, _ boards: BoardDirectories, model: [UInt8]
  ) throws(ConfigurationErrors) -> BoardProfile? {
    guard top.has("board") else { return try boards.profile(ofModel: model) }
    guard let name = top.word("board", "a board profile's name such as raspberry-pi-4") else { return nil }
    if let profile = try boards.profile(named: name) { return profile }
    top.errors.add(top.place(of: "board"), boards.missing(name))
    return nil
  }

  private static func readSimulation(_ top: Section, _ board: BoardProfile?) -> [SimulatedPress] {
    guard let entry = top.entry("simulation") else { return [] }
    let section = Section(entry.value, "simulation", keys: ["presses"], errors: top.errors)
    if top.has("board"), let board, !board.isSimulated {
      top.errors.add(entry.place, "'simulation' goes with 'board: simulated' only")
    } else if !top.has("board") {
      top.errors.add(entry.place, "'simulation' without 'board: simulated'")
    }
    var presses: [SimulatedPress] = []
    for item in section.items("presses", "a list such as '- {line: GPIO27, every: 5s, for: 300ms}'") {
      let press = Section(item, "a press", keys: ["line", "every", "for"], errors: top.errors)
      let every = press.duration("every", 10...86_400_000, default: 5000)
      let held = press.duration("for", 1...86_400_000, default: 300)
      if held >= every { top.errors.add(press.place, "a press is held for less time than from press to press") }
      guard let offset = simulatedLine(press) else { continue }
      presses.append(
        SimulatedPress(offset: offset, everyMilliseconds: Int64(every), forMilliseconds: Int64(held)))
    }
    if presses.count > SimulatedChip.lineCount { top.errors.add(entry.place, "more presses than simulated lines") }
    return presses
  }

  private static func simulatedLine(_ press: Section) -> Int? {
    guard press.has("line") else {
      press.errors.add(press.place, "a press without a 'line'; expected a simulated line such as GPIO27")
      return nil
    }
    guard let name = press.word("line", "a simulated line, GPIO0 to GPIO27", byteCountMax: 31) else { return nil }
    if name.starts(with: [UInt8](ascii: "GPIO")), let offset = Values.integer([UInt8](name[4...])), offset >= 0,
      offset < SimulatedChip.lineCount
    {
      return offset
    }
    press.complain("line", "a simulated line, GPIO0 to GPIO27")
    return nil
  }
}

extension Configuration {
  /// How many there are of each.
  public struct Counts: Sendable, Equatable {
    public let listeners: Int
    public let outputs: Int
    public let inputs: Int
    public let counters: Int
    /// Values; a device may have several.
    public let sensors: Int
    /// PWM channels and LEDs.
    public let levels: Int
    /// Links of inputs among them.
    public var rules = 0
  }

  public var counts: Counts {
    Counts(
      listeners: listeners.count, outputs: taps.outputs.count, inputs: taps.inputs.count,
      counters: taps.counters.count, sensors: taps.sensors.count, levels: taps.levels.count,
      rules: taps.rules.count)
  }
}

extension BoardDirectories {
  /// For a name that did not come from a file.
  public func missingError(_ name: [UInt8]) -> ConfigurationErrors {
    ConfigurationErrors(
      file: [UInt8](ascii: "tapline"), list: [ConfigurationError(place: nil, text: missing(name).bytes)], moreCount: 0)
  }

  /// The error text for a profile that does not exist, with the directories in which it was looked for.
  func missing(_ name: [UInt8]) -> Text {
    var text = Text("no board profile ")
    text.add(quoted: name)
    for (index, directory) in list.enumerated() {
      text.add(index == 0 ? " in " : ", ")
      text.add(directory)
    }
    text.addSuggestion(for: name, of: BoardProfile.shipped)
    return text
  }
}
