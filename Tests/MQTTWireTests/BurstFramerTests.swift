import Bounded
import MQTTWire
import Testing

/// A framer, what it handed over and the bytes of a line.
private final class Port {
  private var framer: BurstFramer
  private let region: UnsafeMutableRawBufferPointer
  private(set) var packets: [[UInt8]] = []

  init(packetBytesMax: Int = 256) {
    var plan = Reservation.counting()
    _ = BurstFramer(packetBytesMax: packetBytesMax, name: "port", in: &plan)
    region = .allocate(byteCount: plan.byteCount, alignment: Reservation.alignment)
    var reservation = Reservation(region: region)
    framer = BurstFramer(packetBytesMax: packetBytesMax, name: "port", in: &reservation)
  }

  deinit { region.deallocate() }

  var skipped: Int { Int(framer.skippedByteCount) }
  var awaitsQuiet: Bool { framer.awaitsQuiet }

  /// Bytes come, in chunks of this size. The kernel doubles 0xFF, as marks begin with it.
  func send(_ bytes: [UInt8], chunk: Int = .max) {
    receive(bytes.flatMap { $0 == 0xFF ? [0xFF, 0xFF] : [$0] }, chunk: chunk)
  }

  /// As the kernel hands it out, with its marks.
  func receive(_ bytes: [UInt8], chunk: Int = .max) {
    bytes.withUnsafeBytes { all in
      var rest = Bytes(all)
      while !rest.isEmpty {
        var part = rest.first(min(chunk, rest.count))
        rest = rest.from(part.count)
        while !part.isEmpty {
          framer.receive(&part)
          drain()
        }
      }
    }
  }

  func quiet() {
    framer.quiet()
    drain()
  }

  func reset() { framer.reset() }

  /// A burst between two gaps; what it brought.
  func burst(_ bytes: [UInt8], chunk: Int = .max) -> [[UInt8]] {
    packets = []
    send(bytes, chunk: chunk)
    quiet()
    return packets
  }

  func burst(marked bytes: [UInt8], chunk: Int = .max) -> [[UInt8]] {
    packets = []
    receive(bytes, chunk: chunk)
    quiet()
    return packets
  }

  private func drain() {
    while let packet = framer.next() { packets.append(packet.array()) }
  }
}

@Suite("Bursts: packets on a line that loses, flips and inserts bytes")
struct BurstFramerTests {
  private static let connect311: [UInt8] = [0x10, 13, 0, 4, 77, 81, 84, 84, 4, 2, 0, 0, 0, 1, 97]
  private static let connect5: [UInt8] = [0x10, 14, 0, 4, 77, 81, 84, 84, 5, 2, 0, 0, 0, 0, 1, 97]
  private static let ping: [UInt8] = [0xC0, 0]

  /// QoS 1, topic `t/a`, MQTT 3.1.1; digits, which could each begin a PUBLISH.
  private static func publish(_ id: UInt8, _ payload: String = "21.30;24") -> [UInt8] {
    [0x32, UInt8(7 + payload.utf8.count), 0, 3, 116, 47, 97, 0, id] + payload.utf8
  }

  /// A port whose client has connected.
  private func port(_ connect: [UInt8] = connect311) -> Port {
    let port = Port()
    #expect(port.burst(connect) == [connect])
    #expect(port.burst([]) == [])  // and is taken
    return port
  }

  @Test(arguments: [1, 2, 3, 7, .max]) func packetsBetweenGapsAreHandedOver(chunk: Int) {
    let port = port()
    let all = [Self.publish(1), Self.publish(2), Self.ping, [0x40, 2, 0, 9]]
    #expect(port.burst(all.flatMap { $0 }, chunk: chunk) == all)
    #expect(port.skipped == 0 && !port.awaitsQuiet)
  }

  /// The last packet of a burst waits for the gap, those before it for the packet behind them.
  @Test func aPacketWaitsForWhatFollowsIt() {
    let port = port()
    _ = port.burst([])
    port.receive(Self.publish(1))
    #expect(port.packets == [] && port.awaitsQuiet)
    port.receive(Self.publish(2))
    #expect(port.packets == [Self.publish(1)])
    port.quiet()
    #expect(port.packets == [Self.publish(1), Self.publish(2)])
  }

  @Test func nothingButConnectComesFirst() {
    let port = Port()
    #expect(port.burst(Self.publish(1)) == [])
    #expect(port.burst(Self.ping) == [])
    #expect(port.skipped == Self.publish(1).count + 2)
    #expect(port.burst(Self.connect5 + Self.ping) == [Self.connect5, Self.ping])
  }

  /// The version of what follows is the CONNECT's: AUTH is of MQTT 5, and so are properties.
  @Test func theVersionIsTheLastConnects() {
    let auth: [UInt8] = [0xF0, 6, 0x18, 4, 0x15, 0, 1, 109]
    let publish5: [UInt8] = [0x32, 7, 0, 1, 116, 0, 1, 0, 120]
    let port = Port()
    #expect(port.burst(Self.connect5 + auth) == [Self.connect5, auth])
    #expect(port.burst(publish5) == [publish5])
    #expect(port.burst(Self.connect311) == [Self.connect311])
    #expect(port.burst(auth) == [])
    // A CONNECT that is given up leaves the version as it was.
    #expect(port.burst(Self.connect5 + [1]) == [])
    #expect(port.burst(auth) == [])
    port.reset()
    #expect(port.burst(Self.ping) == [])
  }

  /// Of packets that a server sends, and of packets that do not decode, nothing is taken.
  @Test(
    arguments: [
      [0x20, 2, 0, 0], [0x90, 3, 0, 1, 0], [0xD0, 0], [0x32, 6, 0, 1, 116, 0, 0, 120],
      [0x32, 6, 0, 1, 0xFF, 0, 1, 120],
      [0x36, 6, 0, 1, 116, 0, 1, 120], [0x82, 5, 0, 1, 0, 9, 97], [0x40, 1, 0], [0xC0, 1, 0], [0x30, 0x80, 0],
      [0x32, 6, 0, 1, 35, 0, 1, 120],
    ] as [[UInt8]])
  func whatNoClientSendsIsSkipped(bytes: [UInt8]) {
    let port = port()
    #expect(port.burst(bytes) == [])
    #expect(port.skipped == bytes.count)
    #expect(port.burst(Self.publish(1)) == [Self.publish(1)])
  }

  private enum Fault: CaseIterable { case lost, inserted, flipped }

  /// At every place of a burst of two messages: one that is handed over is whole, or was only changed where its frame says
  /// nothing. After the next gap everything goes on.
  @Test(arguments: ["21.30;24", "000000000000", "\u{1}\u{2}\u{3}\u{10}0", "2\u{8}", String(repeating: "0", count: 48)])
  func noBrokenFrameIsHandedOver(payload: String) {
    let messages = [Self.publish(1, payload), Self.publish(2, payload)]
    let burst = messages.flatMap { $0 }
    for fault in Fault.allCases {
      for place in 0...burst.count {
        for value: UInt8 in [0x01, 0x02, 0x10, 0x30, 0x32, 0x80, 0xFF] {
          var broken = burst
          switch fault {
          case .lost:
            guard place < burst.count else { continue }
            broken.remove(at: place)
          case .inserted: broken.insert(value, at: place)
          case .flipped:
            guard place < burst.count else { continue }
            broken[place] ^= value
          }
          let port = port()
          let found = port.burst(broken)
          #expect(found.reduce(0) { $0 + $1.count } + port.skipped == broken.count)
          for packet in found where !messages.contains(packet) {
            // As long as what was sent, and different in one byte: raw MQTT cannot see that.
            #expect(fault == .flipped, "\(fault) at \(place): \(packet)")
            #expect(messages.contains { zip($0, packet).filter { $0 != $1 }.count == 1 && $0.count == packet.count })
          }
          if fault != .flipped, found.isEmpty == false {
            // Whatever is lost or too much is behind what was handed over.
            #expect(found == [messages[0]] && place >= messages[0].count, "\(fault) at \(place)")
          }
          #expect(port.burst(Self.publish(3)) == [Self.publish(3)])
        }
      }
    }
  }

  /// With the kernel's marks a flipped bit is known wherever it is.
  @Test func markedBytesAreNoPackets() {
    let burst = Self.publish(1) + Self.publish(2)
    for place in 0..<burst.count {
      var marked: [UInt8] = []
      for (index, byte) in burst.enumerated() {
        marked += index == place ? [0xFF, 0, byte] : byte == 0xFF ? [0xFF, 0xFF] : [byte]
      }
      for chunk in [1, 2, .max] {
        let port = port()
        let found = port.burst(marked: marked, chunk: chunk)
        #expect(!found.contains(Self.publish(2)))
        #expect(found == [] || found == [Self.publish(1)] && place >= Self.publish(1).count)
        #expect(port.burst(Self.publish(3)) == [Self.publish(3)])
      }
    }
  }

  @Test func aDoubled255IsOne() {
    let payload: [UInt8] = [0x32, 8, 0, 1, 116, 0, 1, 0xFF, 0xFF, 0]
    let port = port()
    #expect(port.burst(marked: [0x32, 8, 0, 1, 116, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0]) == [payload])
    // A mark that is cut off by a gap is none.
    port.receive([0xFF])
    port.quiet()
    #expect(port.burst(Self.ping) == [Self.ping])
  }

  /// What looks like a packet inside a message is none, even where the message itself was given up.
  @Test func aPacketWithinABrokenMessageIsNotTaken() {
    let inner = Self.publish(9)
    let outer = [0x32, UInt8(7 + inner.count)] + Array(Self.publish(1).dropFirst(2).prefix(7)) + inner
    let port = port()
    #expect(port.burst(outer) == [outer])
    #expect(port.burst(Array(outer.dropFirst())) == [])
    #expect(port.burst([0x99] + outer) == [])
    #expect(port.burst(Array(outer.dropFirst(9))) == [inner])  // between gaps it is one
  }

  /// A client that never pauses is heard again after a while, with packets that have another one right behind them.
  @Test func aClientThatNeverPausesIsHeardAgain() {
    let port = port()
    let message = Self.publish(1)
    port.receive([0x99])
    var count = 0
    while port.packets.isEmpty && count < 1000 {
      port.receive(message)
      count += 1
    }
    // Its payload has bytes that could begin a packet; what came while they were looked at comes together.
    let found = port.packets.count
    #expect(found > 0 && port.packets.allSatisfy { $0 == message })
    #expect(count * message.count >= BurstFramer.patience)
    #expect(port.skipped <= BurstFramer.patience + 2 * message.count)
    for _ in 0..<10 { port.receive(message) }
    #expect(port.packets.count == found + 10)
    port.quiet()
    #expect(port.packets.count == found + 11)
  }

  /// Found while searching, a last packet has nothing behind it that would show that it is one.
  @Test func whatIsFoundWhileSearchingNeedsAPacketBehindIt() {
    let port = port()
    port.receive([UInt8](repeating: 0x99, count: BurstFramer.patience))
    port.receive(Self.publish(1))
    #expect(port.burst([]) == [])
    #expect(port.skipped == BurstFramer.patience + Self.publish(1).count)
    #expect(port.burst(Self.publish(2)) == [Self.publish(2)])
  }

  @Test func aPacketThatIsTooLargeIsSkipped() {
    let port = port()
    let large: [UInt8] = [0x30, 0x80, 0x02] + [0, 1, 97] + [UInt8](repeating: 0, count: 253)
    #expect(large.count == 259)
    #expect(port.burst(large) == [])
    let fits: [UInt8] = [0x30, 0xFD, 0x01] + [0, 1, 97] + [UInt8](repeating: 0, count: 250)
    #expect(fits.count == 256)
    #expect(port.burst(fits + fits + fits) == [fits, fits, fits])
  }

  /// Any bytes at all: everything is handed over or counted, and a good burst after a gap is taken.
  @Test func anyBytesAreAccountedFor() {
    var random = SeededGenerator(seed: 12)
    for round in 0..<300 {
      let port = port()
      var sent = 0
      var taken = 0
      for _ in 0..<20 {
        var bytes: [UInt8] = []
        for _ in 0..<(1 + random.below(4)) {
          bytes += random.oneIn(2) ? Self.publish(UInt8(1 + random.below(200))) : random.bytes(random.below(300))
        }
        sent += bytes.count
        taken += port.burst(bytes, chunk: 1 + random.below(400)).reduce(0) { $0 + $1.count }
      }
      #expect(sent == taken + port.skipped, "round \(round)")
      // It may have found a CONNECT of MQTT 5 by chance.
      #expect(port.burst(Self.connect311) == [Self.connect311])
      #expect(port.burst(Self.publish(3)) == [Self.publish(3)])
    }
  }
}
