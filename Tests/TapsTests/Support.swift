import Bounded
import MQTTWire
import Taps
import Testing

/// Like `#expect`, but costs nothing when it holds: for the inner loop of a seeded run.
func check(
  _ condition: Bool, _ comment: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  if !condition { Issue.record(Comment(rawValue: comment()), sourceLocation: sourceLocation) }
}

/// Lends bytes that end where their memory ends.
@discardableResult func withLent<Answer>(_ array: [UInt8], _ body: (Bytes) throws -> Answer) rethrows -> Answer {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(array.count, 1), alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: array)
  return try body(Bytes(UnsafeRawBufferPointer(rebasing: copy[..<array.count])))
}

@discardableResult func withLent<Answer>(_ text: String, _ body: (Bytes) throws -> Answer) rethrows -> Answer {
  try withLent([UInt8](text.utf8), body)
}

extension Bytes {
  var text: String { String(decoding: buffer, as: UTF8.self) }
}

/// What `write` writes.
func written(capacity: Int = 512, _ write: (inout ByteWriter) -> Void) -> String {
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
  defer { room.deallocate() }
  var writer = ByteWriter(room)
  write(&writer)
  return writer.overflowed ? "(does not fit)" : writer.written.text
}

/// A table in memory of its own, kept for the rest of the test run.
func board(
  base: String = "home/cellar", outputs: [OutputSettings] = [], inputs: [InputSettings] = [],
  counters: [CounterSettings] = [], sensors: [SensorSettings] = [], at now: Instant = Instant(nanoseconds: 0)
) -> TapTable {
  var settings = TapSettings(base: [UInt8](base.utf8))
  settings.outputs = outputs
  settings.inputs = inputs
  settings.counters = counters
  settings.sensors = sensors
  return table(settings, at: now)
}

func table(_ settings: TapSettings, at now: Instant) -> TapTable {
  var counting = Reservation.counting()
  let needed = TapTable(settings, in: &counting).byteCount
  let region = UnsafeMutableRawBufferPointer.allocate(
    byteCount: needed, alignment: Reservation.alignment)
  region.initializeMemory(as: UInt8.self, repeating: 0)
  var reservation = Reservation(region: region)
  let table = TapTable(settings, in: &reservation)
  table.prepare(at: now)
  return table
}

func output(_ name: String, pin: String = "GPIO17") -> OutputSettings {
  OutputSettings(name: [UInt8](name.utf8), pin: LineAddress(line: [UInt8](pin.utf8)))
}

func input(_ name: String, pin: String = "GPIO27") -> InputSettings {
  InputSettings(name: [UInt8](name.utf8), pin: LineAddress(line: [UInt8](pin.utf8)))
}

func counter(_ name: String = "water", pin: String = "GPIO16") -> CounterSettings {
  CounterSettings(name: [UInt8](name.utf8), pin: LineAddress(line: [UInt8](pin.utf8)))
}

func sensor(
  _ name: String = "air",
  _ source: SensorSource = .hwmon(name: [UInt8]("lm75".utf8), channel: [UInt8]("temp1_input".utf8)),
  intervalMilliseconds: Int64 = 1000
) -> SensorSettings {
  SensorSettings(name: [UInt8](name.utf8), source: source, intervalNanoseconds: intervalMilliseconds * 1_000_000)
}

/// An update as text: "home/cellar/relay=ON", the fault's message first, the event last.
func messages(_ update: TapUpdate) -> [String] {
  [update.fault, update.state, update.event].compactMap { publication in
    publication.map { "\($0.topic.text)=\($0.payload.text)" }
  }
}

/// The User Properties of a publication as text: "seq=7".
func userProperties(_ publication: Publication) throws -> [String] {
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
  defer { room.deallocate() }
  var writer = ByteWriter(room)
  publication.writeProperties(into: &writer)
  #expect(!writer.overflowed)
  let properties = try Properties(writer.written, in: .publish)
  #expect(properties.first(.payloadFormatIndicator)?.byte == 1)
  var found: [String] = []
  var reader = properties.makeReader()
  while let property = reader.next() {
    if property.id == .userProperty { found.append("\(property.key.text)=\(property.value.text)") }
  }
  return found
}

extension Instant {
  /// For taps of which the wall clock does not matter.
  var moment: Moment { Moment(at: self, wallNanoseconds: 0) }
}

extension LevelTap {
  /// A level for good, at the beginning of time.
  mutating func written(_ level: Int, by: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    written(LevelSet(level), by: by, at: Moment(at: Instant(nanoseconds: 0), wallNanoseconds: wallNanoseconds))
  }
}

extension SensorSource {
  static func hwmon(name: [UInt8], channel: [UInt8]) -> SensorSource { .device(.hwmon, name: name, channel: channel) }
  static func iio(name: [UInt8], channel: [UInt8]) -> SensorSource { .device(.iio, name: name, channel: channel) }
  static func thermal(type: [UInt8]) -> SensorSource { .device(.thermal, name: type, channel: []) }
  static func w1(name: [UInt8]) -> SensorSource { .device(.w1, name: name, channel: []) }
  static func supply(name: [UInt8], channel: [UInt8]) -> SensorSource {
    .device(.powerSupply, name: name, channel: channel)
  }
}
