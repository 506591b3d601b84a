import Bounded
import Glibc
import MQTTBroker
import MQTTWire
import Tapline
import TaplineConfiguration
import Taps

/// Any bytes as a configuration: it is refused with errors that lie in the file, or everything it says is in range
/// and what it takes can be planned, and serves a client.
func fuzzConfiguration(_ input: inout Input) {
  let yaml = input.rest()
  let file = [UInt8]("t.yaml".utf8)
  do throws(ConfigurationErrors) {
    let configuration = try Configuration(
      yaml: yaml, file: file, boards: BoardDirectories(option: boardProfiles), hostName: [UInt8]("pi".utf8),
      readsUserFiles: false)
    check(configuration.limits.problem == nil, "limits")
    check(configuration.taps.problem() == nil, "taps")
    check(!configuration.listeners.isEmpty, "no listener")
    let plan = Server.plan(configuration)
    check(plan.byteCount > 0 && plan.totalBytes >= plan.byteCount, "\(plan.byteCount) bytes")
    check(plan.rows.reduce(0) { $0 + $1.byteCount } == plan.byteCount, "sum of the rows")
    if plan.byteCount < 64 << 20 { serve(configuration, byteCount: plan.byteCount) }
  } catch {
    checkErrors(error, yaml)
  }
}

/// From the top of the repository, where `run` starts it.
private let boardProfiles = [UInt8]("board/profiles".utf8)

/// As `Server` begins, without its sockets and lines; then one client.
private func serve(_ configuration: Configuration, byteCount: Int) {
  let flags = MAP_PRIVATE | MAP_ANONYMOUS
  guard let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, -1, 0), memory != MAP_FAILED else { return }
  defer { munmap(memory, byteCount) }
  var reservation = Reservation(region: UnsafeMutableRawBufferPointer(start: memory, count: byteCount))
  var broker = Broker(limits: configuration.limits, keys: BrokerKeys(repeatable: 1), in: &reservation)
  let table = TapTable(configuration.taps, in: &reservation)
  var now = Instant(milliseconds: 1000)
  table.prepare(at: now)
  for index in 0..<table.outputs.count where broker.addTap(filter: table.outputs[index].commandTopic) == nil { return }
  publish(table.status(online: true, wallNanoseconds: 0), on: &broker, at: now)
  broker.startSys(at: now)
  let connect = packet(0x10, string("MQTT"), [5, 2], u16(10), [0], string(""))
  let subscribe = packet(0x82, [0, 1, 0], string("#"), [1], string("$SYS/#"), [2])
  let publication = packet(0x33, string("t/u"), [0, 1, 0], [UInt8](repeating: 1, count: 990))
  guard let id = broker.attach(allowsAnonymous: true, at: now) else { fatalError("no connection is let in") }
  for bytes in [connect, subscribe, publication, publication] {
    broker.advance(to: now)
    withLent(bytes) { bytes in
      var input = bytes
      var turns = 0
      while broker.receive(&input, on: id, at: now) != .done, turns < 100 {
        turns += 1
        flush(id, on: &broker, at: now)
      }
    }
    flush(id, on: &broker, at: now)
    now = now.adding(seconds: 10)
  }
  publish(table.status(online: false, wallNanoseconds: 0), on: &broker, at: now)
  broker.detach(id, at: now)
}

private func publish(_ publication: Publication, on broker: inout Broker, at now: Instant) {
  _ = broker.publish(topic: publication.topic, payload: publication.payload, retain: publication.retain, at: now)
}

private func flush(_ id: ConnectionID, on broker: inout Broker, at now: Instant) {
  while broker.pendingByteCount(id) > 0 { broker.sent(broker.pendingByteCount(id), on: id, at: now) }
}

private func checkErrors(_ errors: ConfigurationErrors, _ yaml: [UInt8]) {
  check(!errors.list.isEmpty && errors.list.count <= ConfigurationErrors.listMax, "\(errors.list.count) errors")
  check(errors.moreCount >= 0, "\(errors.moreCount) more errors")
  check(errors.text.bytes.last == UInt8(ascii: "\n"), "no line")
  // Of a profile, not of this file.
  guard errors.file == [UInt8]("t.yaml".utf8) else { return }
  // libyaml counts CR, LF, CR LF, NEL, LS and PS as line ends; these are at least as many.
  let lineCount = yaml.reduce(1) { $0 + ([10, 13, 0x85, 0xA8, 0xA9].contains($1) ? 1 : 0) }
  for error in errors.list {
    check(!error.text.isEmpty, "no text")
    check(!error.text.contains { $0 < 32 }, "control characters: \(String(decoding: error.text, as: UTF8.self))")
    guard let place = error.place else { continue }
    check((1...(lineCount + 1)).contains(place.line), "line \(place.line) of \(lineCount)")
    check((1...(yaml.count + 1)).contains(place.column), "column \(place.column)")
  }
  for (error, next) in zip(errors.list, errors.list.dropFirst()) {
    if let place = error.place, let following = next.place { check(place <= following, "order") }
  }
}
