import CLinux
import Tapline
import TaplineConfiguration
import Taps

/// The command line is wrong; `text` ends its line.
struct UsageError: Error {
  let text: Text
}

/// Every option of every command.
enum Option: UInt8 {
  case configuration
  case boards
  case board
  case json
  case budget
  case clients
  case times
  case on
  case bias
  case create
  case batch
  case delete
  case iterations
  case directory
  case name
  case client
  case renew
  case days
  case group
  case help
  case version

  /// With the hyphens.
  var longName: StaticString {
    switch self {
    case .configuration: "--config"
    case .boards: "--boards"
    case .board: "--board"
    case .json: "--json"
    case .budget: "--budget"
    case .clients: "--clients"
    case .times: "--times"
    case .on: "--on"
    case .bias: "--bias"
    case .create: "--create"
    case .batch: "--batch"
    case .delete: "--delete"
    case .iterations: "--iterations"
    case .directory: "--directory"
    case .name: "--name"
    case .client: "--client"
    case .renew: "--renew"
    case .days: "--days"
    case .group: "--group"
    case .help: "--help"
    case .version: "--version"
    }
  }

  var letter: UInt8? {
    switch self {
    // No command knows both.
    case .configuration, .create: UInt8(ascii: "c")
    case .batch: UInt8(ascii: "b")
    case .delete: UInt8(ascii: "D")
    case .iterations: UInt8(ascii: "I")
    case .directory: UInt8(ascii: "d")
    case .help: UInt8(ascii: "h")
    case .version: UInt8(ascii: "V")
    case .times: UInt8(ascii: "n")
    case .boards, .board, .json, .budget, .clients, .on, .bias, .name, .client, .renew, .days, .group: nil
    }
  }

  var takesValue: Bool {
    switch self {
    case .configuration, .boards, .board, .budget, .clients, .times, .on, .bias, .iterations, .directory, .name,
      .client,
      .days, .group:
      true
    case .json, .create, .batch, .delete, .renew, .help, .version: false
    }
  }

  /// What getopt_long answers: the letter, or a number beyond all letters.
  var code: Int32 { letter.map { Int32($0) } ?? 256 + Int32(rawValue) }
}

/// getopt_long over the arguments after the one at `first`, which names the command.
struct OptionReader {
  private let first: Int
  private let name: StaticString
  private let known: [Option]
  private let letters: [UInt8]
  /// Where the argument being read stands.
  private(set) var position: Int

  init(first: Int, name: StaticString, known: [Option]) {
    self.first = first
    self.name = name
    self.known = known
    position = first + 1
    var letters: [UInt8] = []
    for option in known {
      guard let letter = option.letter else { continue }
      letters.append(letter)
      if option.takesValue { letters.append(UInt8(ascii: ":")) }
    }
    self.letters = letters + [0]
  }

  /// The next option; nil at the first argument that is none.
  mutating func next() throws(UsageError) -> Option? {
    let code = call()
    defer { position = Int(clinux_option_index()) }
    if code == Int32(CLINUX_OPTION_END) { return nil }
    if code == Int32(CLINUX_OPTION_MISSING) { throw missing() }
    guard let option = known.first(where: { $0.code == code }) else { throw unknown() }
    return option
  }

  /// The value of the option just read.
  var value: [UInt8] { clinux_option_argument().map { bytes(of: $0) } ?? [] }

  /// The words that follow the options, the first `most` of them.
  func rest(most: Int = .max) -> [[UInt8]] {
    var words: [[UInt8]] = []
    while words.count < most, let word = argument(position + words.count) { words.append(word) }
    return words
  }

  /// Nothing may follow the options.
  func end() throws(UsageError) {
    guard let extra = argument(position) else { return }
    var text = start()
    text.add("unexpected argument ")
    text.add(quoted: extra)
    text.endLine()
    throw UsageError(text: text)
  }

  private func call() -> Int32 {
    var table: [clinux_option] = []
    for option in known {
      // A literal's bytes end with a NUL; the two hyphens are getopt's.
      let name = UnsafeRawPointer(option.longName.utf8Start + 2).assumingMemoryBound(to: CChar.self)
      let value = option.takesValue ? CLINUX_REQUIRED_ARGUMENT : CLINUX_NO_ARGUMENT
      table.append(clinux_option(name: name, has_argument: Int32(value), value: option.code))
    }
    return letters.withUnsafeBytes { letters in
      clinux_next_option(
        Int32(first), letters.baseAddress!.assumingMemoryBound(to: CChar.self), table, Int32(table.count))
    }
  }

  private func start() -> Text {
    var text = Text(name)
    text.add(": ")
    return text
  }

  private func missing() -> UsageError {
    var text = start()
    text.add("option ")
    text.add(quoted: argument(position) ?? [])
    text.add(" needs a value\n")
    return UsageError(text: text)
  }

  private func unknown() -> UsageError {
    let word = argument(position) ?? []
    let option = word.firstIndex(of: UInt8(ascii: "=")).map { [UInt8](word[..<$0]) } ?? word
    var names: [StaticString] = []
    for option in known { names.append(option.longName) }
    var text = start()
    if option.count < word.count, known.contains(where: { Text($0.longName).bytes == option }) {
      text.add("option ")
      text.add(quoted: option)
      text.add(" takes no value")
    } else {
      text.add("unknown option ")
      text.add(quoted: option)
      if option.count > 2 { text.addSuggestion(for: option, of: names) }
    }
    text.endLine()
    return UsageError(text: text)
  }
}

/// What a command was told.
struct Arguments {
  private var file: [UInt8]?
  private var boards: [UInt8]?
  private var board: [UInt8]?
  private(set) var json = false
  /// Bytes, of `plan`; nil: no limits are to be proposed.
  private(set) var budget: Int?
  private var clients: Int?
  /// Lines, for `blink` and `watch`.
  private(set) var words: [[UInt8]] = []
  private(set) var times: Int?
  private(set) var onMilliseconds = 500
  private(set) var bias = LineBias.asIs

  /// True when help was asked for.
  mutating func read(_ subcommand: Subcommand) throws(UsageError) -> Bool {
    var options = OptionReader(first: 1, name: subcommand.fullName, known: subcommand.options)
    while let option = try options.next() {
      switch option {
      case .configuration: file = options.value
      case .boards: boards = options.value
      case .board: board = options.value
      case .json: json = true
      case .budget: budget = try byteCount(options.value, subcommand)
      case .clients: clients = try Arguments.number(options.value, 1...65_536, subcommand, .clients)
      case .times: times = try Arguments.number(options.value, 1...1_000_000, subcommand, .times)
      case .on: onMilliseconds = try Arguments.number(options.value, 1...60_000, subcommand, .on)
      case .bias: bias = try bias(options.value, subcommand)
      case .help: return true
      case .create, .batch, .delete, .iterations, .directory, .name, .client, .renew, .days, .group, .version: break
      }
    }
    if subcommand.takesLines { words = options.rest() } else { try options.end() }
    guard budget != nil || clients == nil, budget == nil || !json else {
      var text = Text(subcommand.fullName)
      text.add(json ? ": --budget and --json do not go together\n" : ": --clients goes with --budget only\n")
      throw UsageError(text: text)
    }
    guard file != nil || budget != nil || !subcommand.needsFile else {
      var text = Text(subcommand.fullName)
      text.add(": the configuration is missing; expected -c FILE\n")
      throw UsageError(text: text)
    }
    guard file == nil || board == nil else {
      var text = Text(subcommand.fullName)
      text.add(": -c and --board do not go together\n")
      throw UsageError(text: text)
    }
    return false
  }

  static func number(
    _ text: [UInt8], _ range: ClosedRange<Int>, _ subcommand: Subcommand, _ option: Option
  ) throws(UsageError) -> Int {
    var value = 0
    for digit in text where value <= range.upperBound {
      value = digit >= 48 && digit <= 57 ? value * 10 + Int(digit - 48) : .max - 1
    }
    if !text.isEmpty, range.contains(value) { return value }
    var error = Arguments.wrong(text, subcommand, option)
    error.add("a number from ")
    error.add(range.lowerBound)
    error.add(" to ")
    error.add(range.upperBound)
    error.endLine()
    throw UsageError(text: error)
  }

  private func byteCount(_ text: [UInt8], _ subcommand: Subcommand) throws(UsageError) -> Int {
    if let byteCount = Values.byteCount(text), byteCount > 0 { return byteCount }
    var error = Arguments.wrong(text, subcommand, .budget)
    error.add("bytes such as 16M or 800k\n")
    throw UsageError(text: error)
  }

  private func bias(_ text: [UInt8], _ subcommand: Subcommand) throws(UsageError) -> LineBias {
    let words: [(StaticString, LineBias)] = [
      ("as-is", .asIs), ("disabled", .disabled), ("pull-up", .pullUp), ("pull-down", .pullDown),
    ]
    for (word, bias) in words where Text(word).bytes == text { return bias }
    var error = Arguments.wrong(text, subcommand, .bias)
    error.add("as-is, disabled, pull-up or pull-down\n")
    throw UsageError(text: error)
  }

  /// `tapline blink: option --times is 'x'; expected `.
  private static func wrong(_ text: [UInt8], _ subcommand: Subcommand, _ option: Option) -> Text {
    var error = Text(subcommand.fullName)
    error.add(": option ")
    error.add(option.longName)
    error.add(" is ")
    error.add(quoted: text)
    error.add("; expected ")
    return error
  }

  func configuration() throws(ConfigurationErrors) -> Configuration {
    try Configuration(file: file ?? [], boards: boards)
  }

  /// For what has nothing to do with users: a wrong password file keeps no output from its safe state.
  func configurationWithoutUsers() throws(ConfigurationErrors) -> Configuration {
    try Configuration(file: file ?? [], boards: boards, readsUserFiles: false)
  }

  /// For how many clients `plan` proposes limits; as many as `profile: board` has, where it is not said.
  var clientCount: Int { clients ?? PlanBudget.clientsDefault }

  /// The taps for which `plan` proposes limits: those of the file, if one is named.
  func configurationOrNone() throws(ConfigurationErrors) -> Configuration {
    guard file == nil else { return try configuration() }
    return try Configuration(yaml: [], file: [], boards: BoardDirectories(option: boards), hostName: [])
  }

  /// By name, by configuration, or by what this machine is; nil for neither.
  func boardProfile() throws(ConfigurationErrors) -> BoardProfile? {
    if file != nil { return try configurationWithoutUsers().board }
    let directories = BoardDirectories(option: boards)
    guard let board else { return try directories.detected() }
    if let profile = try directories.profile(named: board) { return profile }
    throw directories.missingError(board)
  }
}
