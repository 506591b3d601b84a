import Bounded
import LinuxIO

/// What is known about a kind of board: its name, how to recognise it, its chips and its header.
public struct BoardProfile: Sendable {
  /// The file's name without `.yaml`.
  public var name: [UInt8]
  /// What `/proc/device-tree/model` begins with on such a board; empty: not recognised by itself.
  public var model: [UInt8] = []
  /// Labels of the chips that carry the header, whatever number the kernel gives them.
  public var chips: [[UInt8]] = []
  /// Position 1 is at index 0; a line's name, or a supply such as `3V3`. Empty, or 40.
  public var header: [[UInt8]] = []
  /// Its lines are a simulated chip in this process.
  public var isSimulated = false

  public init(name: [UInt8]) { self.name = name }

  /// The line at a header position from 1 to 40; nil for a supply, or an unknown header.
  public func line(atHeader position: Int) -> [UInt8]? {
    guard position >= 1, position <= header.count else { return nil }
    let words = header[position - 1]
    return BoardProfile.isSupply(words) ? nil : words
  }

  /// What is printed beside a position; empty for an unknown one.
  public func words(atHeader position: Int) -> [UInt8] {
    position >= 1 && position <= header.count ? header[position - 1] : []
  }

  /// The header position of a line: by its name, or as `GPIO` and its offset on a chip that carries the header. A kernel
  /// may name lines by the schematics, or not at all.
  public func headerPosition(line name: [UInt8], chip label: [UInt8], offset: Int) -> Int? {
    if let index = header.firstIndex(of: name), !BoardProfile.isSupply(name) { return index + 1 }
    guard chips.contains(label) else { return nil }
    var words = Text("GPIO")
    words.add(offset)
    return header.firstIndex(of: words.bytes).map { $0 + 1 }
  }

  static func isSupply(_ words: [UInt8]) -> Bool { supplies.contains { words.equals($0) } }
  static var supplies: [StaticString] { ["3V3", "5V", "GND"] }

  /// The profiles that come with Tapline.
  public static var shipped: [StaticString] {
    ["raspberry-pi-zero-2-w", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "simulated", "generic"]
  }
}

extension BoardProfile {
  static var keys: [StaticString] { ["name", "model", "chips", "header", "simulated"] }
  static var headerCount: Int { 40 }

  /// - Parameter file: as errors name it.
  public init(yaml: [UInt8], file: [UInt8]) throws(ConfigurationErrors) {
    let errors = ErrorList(file: file)
    let document = try ConfigurationDocument(yaml, errors: errors)
    let section = Section(document.root, "a board profile", keys: BoardProfile.keys, errors: errors)
    self.init(name: section.word("name", "the file's name without .yaml", byteCountMax: 64) ?? [])
    if !section.has("name") { errors.add(section.place, "a board profile without a 'name'") }
    if !name.isEmpty, name != BoardProfile.stem(of: file) {
      section.complain("name", "the file's name without .yaml")
    }
    model = section.word("model", "what /proc/device-tree/model begins with") ?? []
    isSimulated = section.boolean("simulated") ?? false
    readChips(section)
    readHeader(section)
    try errors.check()
  }

  private mutating func readChips(_ section: Section) {
    for item in section.items("chips", "a list of chip labels such as [pinctrl-bcm2711]") {
      guard item.kind == .scalar, !item.text.isEmpty, item.text.count <= 31 else {
        section.errors.add(item.place, "expected a chip's label of at most 31 bytes")
        continue
      }
      chips.append(item.text)
    }
  }

  /// All 40 positions, or none.
  private mutating func readHeader(_ section: Section) {
    let entries = section.members("header", "positions and what they carry, such as '{1: 3V3, 2: 5V, 3: GPIO2}'")
    guard !entries.isEmpty else { return }
    var positions = [[UInt8]](repeating: [], count: BoardProfile.headerCount)
    for entry in entries {
      guard let position = Values.integer(entry.key), position >= 1, position <= BoardProfile.headerCount else {
        var text = Text("position ")
        text.add(quoted: entry.key)
        text.add("; expected a number from 1 to 40")
        section.errors.add(entry.place, text)
        continue
      }
      guard entry.value.kind == .scalar, !entry.value.text.isEmpty, entry.value.text.count <= 31 else {
        section.errors.add(entry.value.place, "expected a line's name, 3V3, 5V or GND")
        continue
      }
      let words = entry.value.text
      if !BoardProfile.isSupply(words), let other = positions.firstIndex(of: words), other != position - 1 {
        var text = Text()
        text.add(quoted: words)
        text.add(" is at position ")
        text.add(other + 1)
        text.add(" already")
        section.errors.add(entry.value.place, text)
      }
      positions[position - 1] = words
    }
    if section.errors.isEmpty, let missing = positions.firstIndex(of: []) {
      var text = Text("the header lacks position ")
      text.add(missing + 1)
      text.add("; expected all 40")
      section.errors.add(section.place(of: "header"), text)
    }
    header = positions
  }

  private static func stem(of file: [UInt8]) -> [UInt8] {
    let start = file.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
    let end = file.lastIndex(of: UInt8(ascii: ".")) ?? file.count
    return start < end ? [UInt8](file[start..<end]) : []
  }
}

/// Where board profiles are looked for, in this order.
public struct BoardDirectories: Sendable {
  public private(set) var list: [[UInt8]]

  /// - Parameters:
  ///   - option: `--boards DIR`, which is then the only one.
  ///   - configurationFile: its directory is looked at too.
  public init(option: [UInt8]? = nil, configurationFile: [UInt8]? = nil) {
    if let option {
      list = [option]
      return
    }
    list = [[UInt8](ascii: "/usr/share/tapline/boards")]
    if let file = configurationFile {
      let directory = file.lastIndex(of: UInt8(ascii: "/")).map { [UInt8](file[...$0]) } ?? []
      list.append(directory + [UInt8](ascii: "profiles"))
      list.append(directory + [UInt8](ascii: "board/profiles"))
    }
    let working = [UInt8](ascii: "board/profiles")
    if !list.contains(working) { list.append(working) }
  }

  /// The first profile of that name; nil when there is none. Without any file `simulated` and `generic` still exist, but
  /// have no header.
  public func profile(named name: [UInt8]) throws(ConfigurationErrors) -> BoardProfile? {
    guard BoardDirectories.isName(name) else { return nil }
    for directory in list {
      let file = directory + [UInt8](ascii: "/") + name + [UInt8](ascii: ".yaml")
      guard let yaml = try read(file) else { continue }
      return try BoardProfile(yaml: yaml, file: file)
    }
    guard name.equals("simulated") || name.equals("generic") else { return nil }
    var profile = BoardProfile(name: name)
    profile.isSimulated = name.equals("simulated")
    if profile.isSimulated { profile.chips = [name] }
    return profile
  }

  /// The shipped profile whose model this machine's begins with; nil when there is none, or no such file.
  public func detected() throws(ConfigurationErrors) -> BoardProfile? {
    try profile(ofModel: BoardDirectories.machineModel())
  }

  /// What the device tree says this machine is; empty without one.
  static func machineModel() -> [UInt8] {
    (try? Files.read(Bytes("/proc/device-tree/model"), bytesMax: 256)) ?? []
  }

  func profile(ofModel model: [UInt8]) throws(ConfigurationErrors) -> BoardProfile? {
    guard !model.isEmpty else { return nil }
    for name in BoardProfile.shipped {
      guard let profile = try profile(named: [UInt8](ascii: name)), !profile.model.isEmpty else { continue }
      if model.starts(with: profile.model) { return profile }
    }
    return nil
  }

  /// The file's bytes, nil when there is no such file.
  private func read(_ file: [UInt8]) throws(ConfigurationErrors) -> [UInt8]? {
    do throws(LinuxError) {
      return try FileText.read(file)
    } catch {
      if error == .noEntry || error == .notDirectory { return nil }  // not here
      throw FileText.errors(file, error)
    }
  }

  /// Small letters, digits and hyphens: a file's name and no path.
  static func isName(_ name: [UInt8]) -> Bool {
    !name.isEmpty && name.count <= 64
      && name.allSatisfy { $0 >= 97 && $0 <= 122 || $0 >= 48 && $0 <= 57 || $0 == UInt8(ascii: "-") }
  }
}

/// Whole files of configuration.
enum FileText {
  static func read(_ path: [UInt8]) throws(LinuxError) -> [UInt8] {
    try path.lend { path throws(LinuxError) in
      try Files.read(path, bytesMax: ConfigurationDocument.byteCountMax)
    }
  }

  static func errors(_ file: [UInt8], _ error: LinuxError) -> ConfigurationErrors {
    var text = Text("cannot be read: ")
    text.add(error.text)
    return ConfigurationErrors(file: file, list: [ConfigurationError(place: nil, text: text.bytes)], moreCount: 0)
  }
}
