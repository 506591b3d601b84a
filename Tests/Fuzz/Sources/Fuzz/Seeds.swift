import Foundation
import MQTTWire

/// Where the targets start from: every packet of the wire tables, a few scripts, frames, heads and headers, and the
/// documented configurations.
/// And every input that once found something (`Findings`).
func writeSeeds(to directory: String, repository: String) {
  let writer = SeedWriter(directory: directory)
  for good in Good.all {
    for policy in [UInt8(0), 1] { writer.add("framer", [policy, 4, 2, 1, 7] + good.bytes + good.bytes) }
    let (type, flags, body) = split(good.bytes)
    let options: UInt8 = (good.version == .v5 ? 0 : 1) | (good.sender == .client ? 0 : 2)
    writer.add("decoders", [type.rawValue << 4 | flags, options] + body)
    if good.sender == .client, good.bytes[0] != 0x10, good.bytes.count < 200 {
      let connect: [UInt8] = [step(1, 0), good.version == .v5 ? 2 : 3, 1, 0]
      writer.add("broker", [1] + connect + [step(0, 0), UInt8(good.bytes.count)] + good.bytes)
    }
  }
  writer.add("framer", [1, 4, 1, 3] + Good.all.flatMap { [0xFF, 0x30, 0x80] + $0.bytes })
  for (filter, name) in [("a/#", "a"), ("+/b/#", "a/b/c"), ("$share/g/+", "é"), ("#", "$SYS/x"), ("/+/", "//")] {
    for options in [UInt8(0), 4] {
      writer.add("topics", [options, UInt8(filter.utf8.count)] + [UInt8](filter.utf8) + [UInt8](name.utf8))
    }
  }
  writer.add("topics", [3, 9] + (0..<30).map { UInt8($0) })
  writer.add("topics", [8, 0, 17, 4, 7, 2, 11, 6, 7, 14, 5, 2, 9, 2, 20, 3, 7, 2, 0])
  for script in scripts { writer.add("broker", script) }
  for stream in webSocketSeeds() { writer.add("websocket", stream) }
  for head in upgradeSeeds() { writer.add("upgrade", head) }
  for header in proxySeeds() { writer.add("proxy", header) }
  for (target, input) in findings { writer.add(target, input) }
  for file in accessFiles { writer.add("access", [UInt8](file.utf8)) }
  for file in passwordFiles { writer.add("passwords", [UInt8](file.utf8)) }
  writeConfigurations(writer, repository)
}

/// Each word of an ACL file, the ends that lines have, and what is refused.
private let accessFiles: [String] = [
  "# a house\n\ntopic read status\nuser home assistant\ntopic readwrite home/#\r\ntopic deny home/safe/+\n",
  "pattern write %u/%c/#\npattern read a b\ntopic $SYS/#", "user\ntopic\ntopic raed x\ntopics x\ntopic a/#/b\n",
]

/// Each scheme, lines of nobody, the ends that lines have, and what is refused.
private let passwordFiles: [String] = {
  let hash = String(repeating: "A", count: 86) + "=="
  let bob = "bob:$7$101$ZUdACFCeTsn/dsVE$\(hash)"
  let ann = "ann:$6$T+S2vwg5R2RX6Ic7$\(hash)"
  return [
    "# a house\n\n\(ann)\n\(bob)\n", "\(ann)\r\n\(bob)", "\(bob)\n\(bob)\n", "zoë:secret\n",
    "x:$argon2id$v=19$m=1$a$b\n",
    "a:$7$0$AAAA$\(hash)\nb:$7$1000001$AAAA$\(hash)\n:\n a:\n",
  ]
}()

/// The first byte of a step.
private func step(_ kind: UInt8, _ client: UInt8) -> UInt8 { kind << 2 | client }

/// One behaviour each; options 1 is `Limits.small`, 4 taps, 2 resync.
private let scripts: [[UInt8]] = {
  // Clean Start, MQTT 5, a session of 500 s; client ids "a" to "d".
  func connect(_ client: UInt8) -> [UInt8] { [step(1, client), 2, 1 + client, 2] }
  func oldConnect(_ client: UInt8) -> [UInt8] { [step(1, client), 1, 1 + client, 0] }
  func subscribe(_ client: UInt8, _ filter: UInt8, qos: UInt8) -> [UInt8] { [step(3, client), 0, filter, qos] }
  func publish(_ client: UInt8, _ topic: UInt8, qos: UInt8, retain: UInt8 = 0, size: UInt8 = 5) -> [UInt8] {
    [step(2, client), qos | retain << 2, topic] + (qos == 0 ? [] : [7]) + [size]
  }
  func acknowledge(_ client: UInt8) -> [UInt8] { [step(5, client), 0] }
  let two = connect(0) + connect(1)
  let qos2 = two + subscribe(1, 2, qos: 2) + publish(0, 1, qos: 2) + [step(6, 0), 7]
  let slow = two + subscribe(1, 3, qos: 1) + [step(9, 1), 0]
  var many: [UInt8] = []
  for number in UInt8(0)..<8 {
    many += publish(0, number % 4, qos: number % 3, retain: number & 1, size: 200 + number)
  }
  let wills: [UInt8] = [step(1, 2), 6 | 32 | 8, 3, 2, 2, 1, 9, step(10, 2), step(8, 0), 6]
  var scripts: [[UInt8]] = []
  func add(_ parts: [UInt8]...) { scripts.append(parts.flatMap { $0 }) }
  add([1], qos2, acknowledge(1), acknowledge(1))
  add([0], slow, many, [step(9, 1), 5], acknowledge(1), acknowledge(1))
  add([1], slow, many, [step(10, 1)], oldConnect(1), acknowledge(1), [step(8, 0), 8])
  add([1], connect(0), subscribe(0, 3, qos: 2), wills, [step(8, 0), 8])
  add([1], connect(0), oldConnect(1), subscribe(0, 7, qos: 1), subscribe(1, 8, qos: 2), many, many)
  add([5], connect(0), subscribe(0, 3, qos: 2), publish(0, 7, qos: 2), publish(0, 7, qos: 1, size: 6), many)
  add([0], connect(0), [step(12, 0), 3], many, [step(14, 0), 4, 0, 9, 200, step(8, 0), 5])
  add([3], connect(0), [step(0, 0), 3, 0xFF, 0x00, 0x3F], many, [step(4, 0), 0, 1, 3, step(7, 0), 0, step(7, 0), 1])
  add([1], connect(0), many, subscribe(0, 3, qos: 2), acknowledge(0), subscribe(0, 5, qos: 1), acknowledge(0))
  add([1], two, connect(2), [step(1, 3), 0, 1, 2, step(11, 0), 5, 0, 4, step(13, 0), 1])
  // Back with a smaller window than what is in flight (§4.4, §4.9).
  add([1], qos2, publish(0, 1, qos: 2), [step(10, 1), step(1, 1), 0, 2, 6], acknowledge(1), acknowledge(1))
  return scripts
}()

private func writeConfigurations(_ writer: SeedWriter, _ repository: String) {
  func text(_ path: String) -> String { (try? String(contentsOfFile: repository + "/" + path, encoding: .utf8)) ?? "" }
  writer.add("configuration", [UInt8](text("board/simulated.yaml").utf8))
  let documentation = text("docs/configuration.md")
  // Every second part between fences is YAML or something else that is worth a try.
  for (index, part) in documentation.components(separatedBy: "```").enumerated() where index % 2 == 1 {
    let lines = part.split(separator: "\n", omittingEmptySubsequences: false).dropFirst()
    writer.add("configuration", [UInt8](lines.joined(separator: "\n").utf8))
  }
  for (key, least, most) in limitRanges(documentation) {
    for value in [least, most] { writer.add("configuration", [UInt8]("limits: {\(key): \(value)}\n".utf8)) }
  }
  writer.add("configuration", [UInt8](smallest.utf8))
  let words = documentation.split { !($0.isASCII && ($0.isLowercase || $0 == "_")) }.map { String($0) }
  let keys = Set(words.filter { $0.count > 2 }).sorted()
  let dictionary = keys.map { "\"\($0)\"\n\"\($0): \"\n" }.joined()
  writer.write(
    "configuration.dict", [UInt8]((dictionary + "\"\\x0A  \"\n\"- {\"\n\"&a\"\n\"*a\"\n\"<<: \"\n\"!!\"\n").utf8))
}

/// Rows such as "| `topic_levels` | count | 32 | 2 to 1024 | ... |".
private func limitRanges(_ documentation: String) -> [(key: String, least: Int, most: Int)] {
  documentation.split(separator: "\n").compactMap { line in
    let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    guard cells.count > 4, case let range = cells[3].components(separatedBy: " to "), range.count == 2,
      let least = Int(range[0]), let most = Int(range[1])
    else { return nil }
    return (cells[0].filter { $0 != "`" }, least, most)
  }
}

/// As little of everything as goes together.
private let smallest = """
  limits: {connections: 1, connections_per_address: 1, sessions: 1, client_id_cells: 0, pending_connections: 1, packet_bytes: 1024, partial_blocks: 16,
    partial_block_bytes: 64, topic_levels: 2, topic_nodes: 16, topic_name_cells: 0,
    subscriptions: 1, shared_groups: 0, filters_per_packet: 1, taps: 0, messages: 1, block_bytes: 64, blocks: 18,
    blocks_kept_for_qos: 0, blocks_kept_for_retained: 0, retained: 1, deliveries: 1, queued: 1, inflight: 1,
    topic_alias: 0, topic_alias_clients: 0, topic_alias_bytes: 1, topic_alias_cells: 0, subscription_id_cells: 0, outbox_chunk_bytes: 512, outbox_chunks: 6,
    outbox_chunks_per_connection: 6, reference_bytes: 1, session_expiry_seconds: 0}

  """

private final class SeedWriter {
  private let directory: String
  private var counts: [String: Int] = [:]

  init(directory: String) { self.directory = directory }

  func add(_ target: String, _ bytes: [UInt8]) {
    let number = counts[target, default: 0]
    counts[target] = number + 1
    write("\(target)/seed-\(number)", bytes)
  }

  func write(_ path: String, _ bytes: [UInt8]) {
    let url = URL(fileURLWithPath: directory).appendingPathComponent(path)
    try! FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try! Data(bytes).write(to: url)
  }
}
