import Bounded
import LinuxIO
public import TaplineConfiguration
public import Taps

/// `tapline blink` and `tapline watch`: one look at a wire, without a configuration.
///
/// A line is told as in the configuration: `GPIO17`, `17`, `CHIP:OFFSET` or `CHIP:NAME`, and `header:11`.
public struct LineTools {
  private let lines: Lines
  private let chip: SimulatedChip?
  private let board: BoardProfile?
  private let print: (Text) -> Void

  /// What went wrong, for people.
  public struct Problem: Error {
    public let text: Text
  }

  /// A line that was found.
  private struct Found {
    let name: [UInt8]
    let address: ChipLine
    let info: LineInfo
    let label: [UInt8]
  }

  /// - Parameters:
  ///   - board: for header positions; a simulated one's chip takes the place of the machine's.
  ///   - print: called with each line of text as it comes.
  public init(board: BoardProfile?, print: @escaping (Text) -> Void) {
    chip = board?.isSimulated == true ? SimulatedChip() : nil
    lines = chip.map { Lines(simulated: $0) } ?? Lines()
    self.board = board
    self.print = print
  }

  // MARK: blink

  /// Switches the line `times` times to the other level and back, and gives it back as it was found: the same level, and
  /// an input if it was one. Ends early, and in order, at SIGINT and SIGTERM.
  public func blink(_ word: [UInt8], times: Int, onMilliseconds: Int) throws(Problem) {
    let found = try find(word)
    let waiter = try Waiter()  // from here on a signal ends in order
    var settings = LineSettings(direction: .output)
    settings.keepsLevel = true
    let request = try open(found, settings)
    guard let level = request.get() else {
      request.close()
      throw problem(found, "the line does not answer")
    }
    var text = describe(found)
    text.add(found.info.isOutput ? ": output, " : ": input, ")
    text.add(level ? "high" : "low")
    text.add("; switching it ")
    text.add(times, of: "time")
    text.add(", Ctrl-C ends\n")
    print(text)

    var failure: Problem?
    do throws(Problem) {
      var left = times
      while left > 0, !waiter.isStopped {
        try set(found, request, !level)
        waiter.wait(milliseconds: onMilliseconds)
        try set(found, request, level)
        left -= 1
        if left > 0, !waiter.isStopped { waiter.wait(milliseconds: onMilliseconds) }
      }
    } catch {
      failure = error
    }
    try? request.set(level)
    request.close()
    // What drove nothing before must not drive now: some kernels keep an output's level.
    if !found.info.isOutput { try open(found, LineSettings(direction: .input)).close() }
    if let failure { throw failure }
    text = Text("given back: ")
    text.add(found.info.isOutput ? "output, " : "input, was ")
    text.add(level ? "high\n" : "low\n")
    print(text)
  }

  private func set(_ found: Found, _ request: LineRequest, _ level: Bool) throws(Problem) {
    do throws(LinuxError) {
      try request.set(level)
    } catch {
      var text = describe(found)
      text.add(": ")
      text.add(error.text)
      throw Problem(text: text)
    }
  }

  // MARK: watch

  public static var watchedMax: Int { 64 }

  /// Prints every change of the lines with the kernel's time of it, in seconds of CLOCK_MONOTONIC, until SIGINT, SIGTERM or
  /// `edgesMax` changes (0: no end). No words: the free lines of the board's header.
  public func watch(_ words: [[UInt8]], bias: LineBias, edgesMax: Int) throws(Problem) {
    var watched: [Found] = []
    for word in words { watched.append(try find(word)) }
    if words.isEmpty { watched = try freeHeaderLines() }
    guard watched.count <= LineTools.watchedMax else { throw Problem(text: Text("at most 64 lines at once")) }
    let waiter = try Waiter()
    var requests: [LineRequest] = []
    defer { for request in requests { request.close() } }
    for found in watched { requests.append(try open(found, LineTools.watched(bias))) }
    for (found, request) in zip(watched, requests) {
      var text = describe(found)
      text.add(": ")
      text.add(request.get().map { $0 ? "high" : "low" } ?? "?")
      text.endLine()
      print(text)
    }
    try watch(watched, requests, waiter, edgesMax: edgesMax)
  }

  private static func watched(_ bias: LineBias) -> LineSettings {
    var settings = LineSettings(direction: .input)
    settings.edges = .both
    settings.eventsMax = 256
    settings.bias = LineSettings.Bias(bias)
    return settings
  }

  private func watch(
    _ watched: [Found], _ requests: [LineRequest], _ waiter: Waiter, edgesMax: Int
  ) throws(Problem) {
    for (index, request) in requests.enumerated() { waiter.add(request.fd, UInt64(index + 1)) }
    guard let edges = try? EdgeBuffer(capacity: 64) else { throw Problem(text: Text("out of memory")) }
    var sequences = [UInt32?](repeating: nil, count: requests.count)
    var count = 0
    var nextPress = 0
    while !waiter.isStopped {
      // Lines without hardware change by themselves, so that there is something to see.
      let ready = waiter.wait(milliseconds: chip == nil ? -1 : 250)
      if let chip, ready.isEmpty, !waiter.isStopped {
        let address = watched[nextPress % watched.count].address
        chip.drive(address.offset, high: !chip.isHigh(address.offset))
        nextPress += 1
        continue
      }
      for token in ready {
        let index = Int(token) - 1
        do throws(LinuxError) {
          let taken = try requests[index].readEdges(into: edges)
          for place in 0..<taken {
            show(watched[index], edges[place], after: &sequences[index])
            count += 1
            if count == edgesMax { return }
          }
        } catch {
          var text = describe(watched[index])
          text.add(": ")
          text.add(error.text)
          throw Problem(text: text)
        }
      }
    }
  }

  /// `  12345.678901  GPIO17  high`.
  private func show(_ found: Found, _ edge: EdgeEvent, after last: inout UInt32?) {
    var text = Text()
    let microseconds = Int(edge.timestampNanoseconds / 1000)
    text.add(microseconds / 1_000_000, width: 9)
    text.add(".")
    var digits = Text()
    digits.add(1_000_000 + microseconds % 1_000_000)
    text.add([UInt8](digits.bytes.dropFirst()))
    text.add("  ")
    text.add(found.name, width: 8)
    text.add("  ")
    text.add(edge.rising ? "high" : "low")
    if edge.sequence != 0 {
      let lost = edge.sequence &- (last ?? edge.sequence &- 1) &- 1
      if lost > 0 {
        text.add("  ")
        text.add(Int(lost))
        text.add(" lost before")
      }
      last = edge.sequence
    }
    text.endLine()
    print(text)
  }

  // MARK: Lines

  private func freeHeaderLines() throws(Problem) -> [Found] {
    var free: [Found] = []
    try forEachLine { chip, info in
      let name = info.name.bytes
      guard !info.isUsed, let board,
        let position = board.headerPosition(line: name, chip: chip.label.bytes, offset: info.offset),
        let address = chip.name.withBytes({ try? lines.find(.number(info.offset), chip: $0) })
      else { return }
      free.append(Found(name: board.words(atHeader: position), address: address, info: info, label: chip.label.bytes))
    }
    if free.isEmpty { throw Problem(text: Text("no free line of a known header; name the lines")) }
    return free
  }

  private func find(_ word: [UInt8]) throws(Problem) -> Found {
    let pin = try pin(word)
    var failure: LineError?
    var address: ChipLine?
    do throws(LineError) { address = try lines.find(pin) } catch { failure = error }
    if let failure { throw LineTools.problem(failure, pin) }
    var found: Found?
    guard let address else { throw Problem(text: Text("no line")) }
    try forEachLine { chip, info in
      guard chip.name.bytes == address.chip.bytes, info.offset == address.offset else { return }
      let name = info.name.bytes
      found = Found(name: name.isEmpty ? pin.line : name, address: address, info: info, label: chip.label.bytes)
    }
    guard let found else { throw Problem(text: Text("the line has gone")) }
    return found
  }

  /// `header:11`, `CHIP:17`, `17` or a name.
  private func pin(_ word: [UInt8]) throws(Problem) -> LineAddress {
    guard let colon = word.lastIndex(of: UInt8(ascii: ":")) else {
      guard let number = Values.integer(word), number >= 0 else { return LineAddress(line: word) }
      return LineAddress(line: [UInt8](ascii: "GPIO") + word)
    }
    let (chip, line) = ([UInt8](word[..<colon]), [UInt8](word[(colon + 1)...]))
    guard chip.equals("header") else { return LineAddress(chip: chip, line: line) }
    var text = Text()
    if let board, !board.header.isEmpty {
      let position = Values.integer(line) ?? 0
      if let line = board.line(atHeader: position) { return LineAddress(line: line) }
      text.add(quoted: word)
      if position >= 1, position <= board.header.count {
        text.add(" is ")
        text.add(board.words(atHeader: position))
        text.add(", no line")
      } else {
        text.add("; expected header:1 to header:40")
      }
    } else {
      text.add(quoted: word)
      text.add(" needs a board whose header is known; expected --board NAME")
    }
    throw Problem(text: text)
  }

  private func open(_ found: Found, _ settings: LineSettings) throws(Problem) -> LineRequest {
    do throws(LineError) {
      return try LineRequest.open(found.address, settings, consumer: Bytes("tapline tool"))
    } catch {
      if error.reason == .failed, error.error == .noDeviceOrAddress {
        throw problem(found, "has no interrupt: its changes cannot be watched")
      }
      throw LineTools.problem(error, LineAddress(line: found.name))
    }
  }

  private func forEachLine(_ body: (ChipInfo, LineInfo) -> Void) throws(Problem) {
    var failure: LinuxError?
    do throws(LinuxError) {
      try lines.forEachChip { chip in
        do throws(LinuxError) { try lines.forEachLine(of: chip) { body(chip, $0) } } catch { failure = error }
      }
    } catch {
      failure = error
    }
    if let failure { throw Problem(text: LineListing.words(for: failure)) }
  }

  // MARK: Words

  /// `GPIO17 (pinctrl-bcm2711 line 17, header 11)`.
  private func describe(_ found: Found) -> Text {
    var text = Text(found.name)
    text.add(" (")
    text.add(found.label)
    text.add(" line ")
    text.add(found.address.offset)
    if let position = board?.headerPosition(line: found.name, chip: found.label, offset: found.address.offset) {
      text.add(", header ")
      text.add(position)
    }
    text.add(")")
    return text
  }

  private func problem(_ found: Found, _ words: StaticString) -> Problem {
    var text = describe(found)
    text.add(": ")
    text.add(words)
    return Problem(text: text)
  }

  private static func problem(_ error: LineError, _ pin: LineAddress) -> Problem {
    var text = Text()
    withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { room in
      var writer = ByteWriter(room)
      error.write(of: pin, into: &writer)
      text.add(writer.written)
    }
    return Problem(text: text)
  }
}

/// Waits for time to pass, for descriptors, and for SIGINT or SIGTERM.
private final class Waiter {
  private let poller: Poller
  private let signals: Signals
  private(set) var isStopped = false

  init() throws(LineTools.Problem) {
    do throws(LinuxError) {
      poller = try Poller(eventsMax: 16)
      signals = try Signals()
      try poller.add(signals.fd, token: 0, interest: .read)
    } catch {
      throw LineTools.Problem(text: Text("the machine has no descriptor left"))
    }
  }

  deinit { signals.close() }

  /// - Parameter token: 1 or more.
  func add(_ fd: Int32, _ token: UInt64) { try? poller.add(fd, token: token, interest: .read) }

  /// Which descriptors are readable; none after this time, or when it is to stop. Negative: without end.
  @discardableResult
  func wait(milliseconds: Int) -> [UInt64] {
    let count = poller.wait(timeoutMilliseconds: milliseconds)
    var ready: [UInt64] = []
    for index in 0..<count {
      let token = poller.event(index).token
      if token > 0 { ready.append(token) } else if signals.next() == .stop { isStopped = true }
    }
    return ready
  }
}

extension FixedText {
  fileprivate var bytes: [UInt8] { withBytes { $0.array() } }
}
