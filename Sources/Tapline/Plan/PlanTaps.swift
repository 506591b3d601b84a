import Bounded
import LinuxIO
public import TaplineConfiguration
import Taps

/// What the taps of one kind take, of the loop's memory and of the kernel's.
public struct PlanTaps: Equatable, Sendable {
  public let kind: StaticString
  public let count: Int
  /// Bytes of the pools: states, topics, texts and lines of the state file.
  public let byteCount: Int
  /// The kernel's queue of one tap's edges, beside the pools.
  public let kernelBytesEach: Int

  /// Rounded up, as names differ in length.
  public var bytesEach: Int { count == 0 ? 0 : (byteCount + count - 1) / count }

  public static func == (left: PlanTaps, right: PlanTaps) -> Bool {
    Bytes(left.kind) == Bytes(right.kind) && left.count == right.count && left.byteCount == right.byteCount
      && left.kernelBytesEach == right.kernelBytesEach
  }

  /// Kinds without a tap are left out.
  static func list(_ settings: TapSettings) -> [PlanTaps] {
    var none = TapSettings(base: settings.base)
    none.persist = settings.persist
    let nothing = byteCount(none)
    var list: [PlanTaps] = []
    @inline(never) func add(
      _ kind: StaticString, _ count: Int, kernelBytesEach: Int, _ fill: (inout TapSettings) -> Void
    ) {
      guard count > 0 else { return }
      var only = none
      fill(&only)
      list.append(
        PlanTaps(
          kind: kind, count: count, byteCount: byteCount(only) - nothing, kernelBytesEach: kernelBytesEach))
    }
    add("output", settings.outputs.count, kernelBytesEach: 0) {
      $0.outputs = settings.outputs
      $0.groups = settings.groups
    }
    add("input", settings.inputs.count, kernelBytesEach: LineSettings.kernelBytes(eventsMax: Server.inputEventsMax)) {
      $0.inputs = settings.inputs
    }
    add(
      "counter", settings.counters.count, kernelBytesEach: LineSettings.kernelBytes(eventsMax: Server.counterEventsMax)
    ) { $0.counters = settings.counters }
    add("sensor", settings.sensors.count, kernelBytesEach: 0) { $0.sensors = settings.sensors }
    add("dimmer", settings.levels.count, kernelBytesEach: 0) { $0.levels = settings.levels }
    return list
  }

  /// The same code that takes the memory, with a reservation that only counts.
  @inline(never) private static func byteCount(_ settings: TapSettings) -> Int {
    var reservation = Reservation.counting()
    _ = TapTable(settings, in: &reservation)
    _ = StateRoom(settings, in: &reservation)
    return reservation.byteCount
  }
}

extension Plan {
  /// Bytes that the kernel keeps for the edges of all lines.
  public var kernelEdgeBytes: Int { taps.reduce(0) { $0 + $1.count * $1.kernelBytesEach } }

  /// `bytes a tap: output 792, input 560 and 3072 in the kernel`; empty without taps.
  public var tapsLine: Text {
    var text = Text()
    for (index, row) in taps.enumerated() {
      text.add(index == 0 ? "bytes a tap: " : ", ")
      text.add(row.kind)
      text.add(" ")
      text.add(row.bytesEach)
      if row.kernelBytesEach > 0 {
        text.add(" and ")
        text.add(row.kernelBytesEach)
        text.add(" in the kernel")
      }
    }
    if !taps.isEmpty { text.endLine() }
    return text
  }

  func addTaps(to text: inout Text) {
    guard !taps.isEmpty else { return }
    text.endLine()
    text.add("TAPS, IN THE POOLS", width: 32)
    text.add("        COUNT   BYTES EACH    KERNEL EACH\n")
    for row in taps {
      text.add(row.kind, width: 32)
      text.add(row.count, width: 13)
      text.add(row.bytesEach, width: 13)
      text.add(row.kernelBytesEach, width: 15)
      text.endLine()
    }
  }

  func addTaps(json text: inout Text) {
    text.add(",\"taps\":[")
    for (index, row) in taps.enumerated() {
      text.add(index == 0 ? "{\"kind\":\"" : ",{\"kind\":\"")
      text.add(row.kind)
      text.add("\",\"count\":")
      text.add(row.count)
      text.add(",\"bytes\":")
      text.add(row.byteCount)
      text.add(",\"bytes_each\":")
      text.add(row.bytesEach)
      text.add(",\"kernel_bytes_each\":")
      text.add(row.kernelBytesEach)
      text.add("}")
    }
    text.add("]")
  }
}
