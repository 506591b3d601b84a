public import Bounded
public import MQTTWire

/// One line to be set, for whom, and what follows. Its `by` is valid until the table's next event.
public struct LineSet: BitwiseCopyable {
  /// The output's place in the table.
  public let output: Int
  public let active: Bool
  /// Who did it, for the state's User Property: a client identifier, `timer`, `lease`, `safe`, `interlock`, `rule:NAME`.
  public let by: Bytes
  /// Then it gets `restActive`; `never` when it stays.
  let restAt: Instant
  let restActive: Bool

  init(output: Int, active: Bool, by: Bytes, restAt: Instant = .never, restActive: Bool = false) {
    self.output = output
    self.active = active
    self.by = by
    self.restAt = restAt
    self.restActive = restActive
  }
}

/// Lines to be set one after the other, in memory of the table: valid until its next command, pulse or due output.
///
/// Invariant: `count` sets are written at `base`.
public struct LineSets: BitwiseCopyable {
  private let base: UnsafeMutablePointer<LineSet>
  public private(set) var count = 0

  /// The most that one event asks for: the others of a group off, and one on.
  static var capacity: Int { OutputGroupSettings.outputsMax }

  init(_ base: UnsafeMutablePointer<LineSet>) { self.base = base }

  public subscript(index: Int) -> LineSet {
    precondition(index >= 0 && index < count)
    return base[index]
  }

  mutating func append(_ set: LineSet) {
    precondition(count < LineSets.capacity)
    (base + count).initialize(to: set)
    count += 1
  }
}

/// What the lines must do about a command, and how its PUBLISH is answered.
public enum OutputAction: BitwiseCopyable {
  /// Set these lines in this order, telling the table after each: `lineSet` or `lineFailed`, which ends it: an output whose
  /// rival cannot be switched off stays off. None: the command is accepted and what it asks for is so, or follows by itself.
  case set(LineSets)
  /// Answer with this code and Reason String, which is valid until the table's next event. Nothing changes.
  case refuse(ReasonCode, Bytes)
}

/// The answer on a command's Response Topic (§4.10).
public enum OutputAnswer {
  /// Room that an answer needs at most: a reason of 160 bytes, all of them escaped.
  public static var byteCountMax: Int { 1024 }

  /// `{"ok":true,"state":"ON"}`: what the output has now, which is not yet ON while its group's dead time runs.
  public static func write(state active: Bool, into writer: inout ByteWriter) {
    writer.write(active ? "{\"ok\":true,\"state\":\"ON\"}" : "{\"ok\":true,\"state\":\"OFF\"}")
  }

  /// `{"ok":false,"reason":"min_off: 44 s left"}`. `reason` is UTF-8.
  public static func write(refusal reason: Bytes, into writer: inout ByteWriter) {
    writer.write("{\"ok\":false,\"reason\":")
    writer.writeJsonString(reason)
    writer.write("}")
  }
}
