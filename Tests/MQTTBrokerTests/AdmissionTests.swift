import MQTTBroker
import Testing

@testable import Bounded

/// Admission control by itself: what is pending, of whom, and for how long.
@Suite struct AdmissionTests {
  private let here = SourceAddress(ipv4: 0xC000_0201)
  private let there = SourceAddress(ipv6Prefix: 0x2001_0DB8_0000_0001)
  private let start = Instant(milliseconds: 1000)

  /// Admission control of its own memory.
  private final class Control {
    var admission: Admission
    private let region: UnsafeMutableRawBufferPointer

    init(serialCount: Int = 0, _ change: (inout Limits) -> Void) {
      var limits = Limits.forTests
      limits.connectSeconds = 10
      change(&limits)
      var plan = Reservation.counting()
      _ = Admission(limits, serialCount: serialCount, in: &plan)
      region = .zeroed(plan.byteCount)
      var reservation = Reservation(region: region)
      admission = Admission(limits, serialCount: serialCount, in: &reservation)
    }

    deinit { region.deallocate() }

    func admit(_ stream: UInt32, from source: SourceAddress = .local, at now: Instant) -> Admission.Refusal? {
      admission.admit(from: source, at: now) { stream }
    }
  }

  @Test func soManyArePending() {
    let control = Control { $0.pendingConnectionsMax = 2 }
    #expect(control.admit(1, at: start) == nil)
    #expect(control.admit(2, from: here, at: start) == nil)
    #expect(control.admit(3, at: start) == .full(.pendingConnections))
    #expect(control.admission.pendingCount == 2 && control.admission.distantCount == 1)
    control.admission.end(2)
    control.admission.end(2)  // once
    #expect(control.admission.pendingCount == 1 && control.admission.distantCount == 0)
    #expect(control.admit(3, at: start) == nil)
    control.admission.end(1)
    control.admission.end(3)
    #expect(control.admission.pendingCount == 0)
    #expect(control.admission.nextDeadline == .never)
  }

  @Test func soManyOfOneAddress() {
    let control = Control {
      $0.pendingPerAddressMax = 2
      $0.connectBurst = 4
      $0.connectsPerSecond = 1
    }
    #expect(control.admit(1, from: here, at: start) == nil)
    #expect(control.admit(2, from: here, at: start) == nil)
    #expect(control.admit(3, from: here, at: start) == .ofAddress(.tooManyPending, isNews: true))
    #expect(control.admit(3, from: here, at: start) == .ofAddress(.tooManyPending, isNews: false))
    #expect(control.admit(3, from: there, at: start) == nil)
    control.admission.end(1)
    control.admission.end(2)
    for stream: UInt32 in 4...5 { #expect(control.admit(stream, from: here, at: start) == nil) }
    control.admission.end(4)
    #expect(control.admit(6, from: here, at: start) == .ofAddress(.tooFast, isNews: false))
    for stream: UInt32 in 10..<14 { #expect(control.admit(stream, from: .local, at: start) == nil) }
  }

  /// A proxy's own address is not limited; its clients' are, from the time at which it says who they are.
  @Test func aProxysClientsCountThemselves() {
    let control = Control {
      $0.pendingPerAddressMax = 1
      $0.connectionsPerAddressMax = 2
      $0.connectsPerSecond = 1000
    }
    func admit(_ stream: UInt32) -> Admission.Refusal? {
      control.admission.admit(from: here, isProxy: true, at: start) { stream }
    }
    for stream: UInt32 in 1...4 { #expect(admit(stream) == nil) }
    #expect(control.admission.distantCount == 4 && control.admission.countsOfAddresses.all == 0)
    #expect(control.admission.setSource(there, of: 1, at: start) == nil)
    #expect(control.admission.setSource(here, of: 1, at: start) == nil)  // it has one
    #expect(control.admission.countsOfAddresses.all == 1 && control.admission.countsOfAddresses.pending == 1)
    #expect(control.admission.setSource(there, of: 2, at: start) == .ofAddress(.tooManyPending, isNews: true))
    control.admission.leave(1)
    #expect(control.admission.setSource(there, of: 2, at: start) == nil)
    control.admission.leave(2)
    #expect(control.admission.setSource(there, of: 3, at: start) == .ofAddress(.tooMany, isNews: false))
    for stream: UInt32 in 1...4 { control.admission.end(stream) }
    #expect(control.admission.distantCount == 0 && control.admission.pendingCount == 0)
    #expect(control.admission.countsOfAddresses.all == 0)
  }

  /// A proxy on a unix socket: the stream is local until its client is known.
  @Test func aLocalProxysClientsAreDistant() {
    let control = Control { $0.pendingPerAddressMax = 2 }
    #expect(control.admission.admit(from: .local, isProxy: true, at: start) { 1 } == nil)
    #expect(control.admission.distantCount == 0)
    #expect(control.admission.setSource(.local, of: 1, at: start) == nil)
    #expect(control.admission.setSource(here, of: 1, at: start) == nil)
    #expect(control.admission.distantCount == 1 && control.admission.countsOfAddresses.all == 1)
    control.admission.end(1)
    #expect(control.admission.distantCount == 0 && control.admission.countsOfAddresses.all == 0)
  }

  /// A stream that cannot be made leaves nothing behind.
  @Test func withoutAStreamItIsRefused() {
    let control = Control { $0.pendingPerAddressMax = 1 }
    #expect(control.admission.admit(from: here, at: start, open: { nil }) == .full(.connections))
    #expect(control.admission.pendingCount == 0 && control.admission.distantCount == 0)
    #expect(control.admit(1, from: here, at: start) == nil)
  }

  @Test func whoIsRefusedOpensNothing() {
    let control = Control { $0.pendingConnectionsMax = 1 }
    #expect(control.admit(1, at: start) == nil)
    var openedCount = 0
    let refusal = control.admission.admit(from: .local, at: start) {
      openedCount += 1
      return 2
    }
    #expect(refusal == .full(.pendingConnections) && openedCount == 0)
  }

  /// The deadline counts from the arrival, and goes with the first byte to whoever reads it.
  @Test func silenceHasADeadline() {
    let control = Control { _ in }
    func after(_ milliseconds: Int64) -> Instant { start.adding(milliseconds: milliseconds) }
    for stream: UInt32 in 1...3 { #expect(control.admit(stream, at: after(Int64(stream) * 1000)) == nil) }
    #expect(control.admission.nextDeadline == after(11_000))
    #expect(control.admission.popExpired(at: after(10_999)) == nil)
    #expect(control.admission.heard(1) == after(11_000))
    #expect(control.admission.heard(1) == .never)
    #expect(control.admission.heard(99) == .never)
    #expect(control.admission.nextDeadline == after(12_000))
    #expect(control.admission.popExpired(at: after(12_000)) == 2)
    #expect(control.admission.popExpired(at: after(12_000)) == nil)
    #expect(control.admission.pendingCount == 3)  // until it leaves
    control.admission.end(3)
    #expect(control.admission.nextDeadline == .never)
    #expect(control.admission.popExpired(at: after(1_000_000)) == nil)
    control.admission.end(1)
    control.admission.end(2)
    #expect(control.admission.pendingCount == 0)
  }

  @Test func severalExpireAtOnce() {
    let control = Control { _ in }
    for stream: UInt32 in 1...4 { #expect(control.admit(stream, at: start) == nil) }
    control.admission.end(2)
    var expired: [UInt32] = []
    while let stream = control.admission.popExpired(at: start.adding(seconds: 10)) { expired.append(stream) }
    #expect(expired.sorted() == [1, 3, 4])
  }

  // MARK: Addresses, for the whole life

  @Test func anAddressHasSoManyForTheirWholeLife() {
    let control = Control {
      $0.connectionsPerAddressMax = 3
      $0.pendingPerAddressMax = 2
    }
    for stream: UInt32 in 1...3 {
      #expect(control.admit(stream, from: here, at: start) == nil)
      control.admission.leave(stream)
    }
    #expect(control.admit(4, from: here, at: start) == .ofAddress(.tooMany, isNews: true))
    #expect(control.admit(4, from: here, at: start) == .ofAddress(.tooMany, isNews: false))
    #expect(control.admission.countsOfAddresses == (3, 0))
    #expect(control.admit(4, from: there, at: start) == nil)
    for stream: UInt32 in 5...9 { #expect(control.admit(stream, at: start) == nil) }
    control.admission.end(2)
    #expect(control.admit(10, from: here, at: start) == nil)
    control.admission.end(10)
    control.admission.end(10)  // once
    #expect(control.admission.countsOfAddresses == (3, 1) && control.admission.distantCount == 3)
  }

  /// min(2, connections / 8), of which one host's addresses get none, and one for each serial line.
  @Test(arguments: [(1, 0), (7, 0), (8, 1), (15, 1), (16, 2), (1024, 2)], [0, 1])
  func someAreKeptForWhoHasNoAddress(_ row: (connections: Int, kept: Int), serialCount: Int) {
    let (connections, kept) = (row.connections, row.kept + serialCount)
    let control = Control(serialCount: serialCount) {
      $0.connectionsMax = connections
      $0.sessionsMax = connections
      $0.pendingConnectionsMax = connections
      $0.connectBurst = 2000
      $0.connectionsPerAddressMax = connections
      $0.pendingPerAddressMax = connections
    }
    var stream: UInt32 = 0x0010_0000
    while control.admit(stream, from: here, at: start) == nil {
      control.admission.leave(stream)
      stream += 1
    }
    #expect(control.admission.distantCount == connections - kept)
    #expect(control.admit(stream, from: there, at: start) == .full(.connections))
    for _ in 0..<row.kept {
      #expect(control.admit(stream, at: start) == nil)
      control.admission.leave(stream)
      stream += 1
    }
    // A serial line's place is not theirs either, though its stream comes late.
    #expect(control.admit(stream, at: start) == .full(.connections))
    guard stream > 0x0010_0000 else { return }  // there is no place but the line's
    control.admission.end(stream - 1)
    #expect(control.admit(stream - 1, at: start) == nil)
  }

  // MARK: Giving way

  @Test func whoHasWaitedLongestGivesWay() {
    let control = Control { $0.pendingConnectionsMax = 3 }
    for stream: UInt32 in 1...3 { #expect(control.admit(stream, from: stream == 1 ? .local : here, at: start) == nil) }
    func gone(_ source: SourceAddress, hasPlace: Bool = true) -> UInt32? {
      control.admission.givesWay(to: source, hasPlace: hasPlace, at: start)?.stream
    }
    #expect(gone(there) == 1)
    _ = control.admission.heard(1)  // that it has begun to speak does not help it
    #expect(gone(there) == 1 && gone(.local) == 1)
    control.admission.leave(1)  // that it has said CONNECT does
    #expect(gone(there) == nil && gone(there, hasPlace: false) == 2)
    #expect(control.admission.givesWay(to: there, hasPlace: false, at: start)?.limit == .connections)
    control.admission.end(2)
    #expect(gone(.local, hasPlace: false) == 3)
    control.admission.end(3)
    #expect(gone(.local, hasPlace: false) == nil)  // a client that is connected never does
  }

  /// Whoever would be refused at its own address's limit throws nobody out.
  @Test func nobodyGivesWayToWhoMayNotEnter() {
    let control = Control {
      $0.pendingConnectionsMax = 2
      $0.pendingPerAddressMax = 1
      $0.connectBurst = 1
    }
    #expect(control.admit(1, from: here, at: start) == nil)
    #expect(control.admit(2, at: start) == nil)
    #expect(control.admission.givesWay(to: here, hasPlace: true, at: start) == nil)
    control.admission.leave(1)
    #expect(control.admit(3, at: start) == nil)
    #expect(control.admission.givesWay(to: here, hasPlace: true, at: start) == nil)  // too fast
    #expect(control.admission.givesWay(to: there, hasPlace: true, at: start)?.stream == 2)
  }

  /// For a place that none of the others may take, one of the others has to go.
  @Test func aKeptPlaceIsFreedForNobodyElse() {
    let control = Control {
      $0.connectionsMax = 8
      $0.pendingConnectionsMax = 8
      $0.connectionsPerAddressMax = 7
      $0.pendingPerAddressMax = 7
    }
    #expect(control.admit(0x10_0000, at: start) == nil)
    for place: UInt32 in 1...7 { #expect(control.admit(0x10_0000 | place, from: here, at: start) == nil) }
    let found = control.admission.givesWay(to: there, hasPlace: false, at: start)
    #expect(found?.stream == 0x10_0001 && found?.limit == .connections)
    #expect(control.admission.givesWay(to: .local, hasPlace: false, at: start)?.stream == 0x10_0000)
  }

  // MARK: A model

  private struct Modelled {
    let stream: UInt32
    let source: SourceAddress
    var deadline: Instant
    var isPending = true
  }

  /// Against an array in the order of arrival, with streams that come, speak, connect, leave and stay silent by chance.
  @Test(arguments: [1, 2, 3, 9, 24]) func behavesLikeAnArray(capacity: Int) {
    var random = SeededGenerator(seed: UInt64(capacity))
    let control = Control {
      $0.connectionsMax = 24
      $0.pendingConnectionsMax = capacity
      $0.connectionsPerAddressMax = 9
      $0.pendingPerAddressMax = 5
      $0.connectBurst = 60_000
    }
    let sources = [SourceAddress.local, here, there, SourceAddress(ipv4: 0x7F00_0002)]
    var model: [Modelled] = []
    var now = start
    var generation: UInt32 = 0
    for _ in 0..<5000 {
      now = now.adding(milliseconds: Int64(random.below(1500)))
      let chosen = model.indices.randomElement(using: &random)
      switch random.below(5) {
      case 0, 1:
        let source = sources.randomElement(using: &random)!
        let same = model.filter { $0.source == source }
        let mayEnter = source.isLocal || same.count < 9 && same.filter(\.isPending).count < 5
        func lacksPlace() -> (kept: Bool, any: Bool, pending: Bool) {
          (
            !source.isLocal && model.filter { !$0.source.isLocal }.count >= 22, model.count == 24,
            model.filter(\.isPending).count >= capacity
          )
        }
        let lack = lacksPlace()
        let first = model.firstIndex { $0.isPending && (!lack.kept || !$0.source.isLocal) }
        let found = control.admission.givesWay(to: source, hasPlace: !lack.any, at: now)
        let expected = mayEnter && (lack.kept || lack.any || lack.pending) ? first : nil
        #expect(found?.stream == expected.map { model[$0].stream })
        if found != nil { #expect(found?.limit == (lack.kept || lack.any ? .connections : .pendingConnections)) }
        if let expected, random.oneIn(2) { control.admission.end(model.remove(at: expected).stream) }
        generation = generation % 4095 + 1
        let free = (UInt32(0)..<24).first { place in !model.contains { $0.stream & 0xF_FFFF == place } }
        let left = lacksPlace()
        let refusal = control.admission.admit(from: source, at: now) { free.map { generation << 20 | $0 } }
        #expect((refusal == nil) == (mayEnter && !left.kept && !left.any && !left.pending))
        if refusal == nil {
          let deadline = now.adding(seconds: 10)
          model.append(Modelled(stream: generation << 20 | free!, source: source, deadline: deadline))
        }
      case 2:
        guard let chosen else { continue }
        #expect(control.admission.heard(model[chosen].stream) == model[chosen].deadline)
        model[chosen].deadline = .never
      case 3:
        guard let chosen else { continue }
        control.admission.leave(model[chosen].stream)
        model[chosen].isPending = false
        model[chosen].deadline = .never
      default:
        guard let chosen else { continue }
        control.admission.end(model.remove(at: chosen).stream)
      }
      while let stream = control.admission.popExpired(at: now) {
        let index = model.firstIndex { $0.stream == stream }!
        #expect(model[index].deadline <= now)
        model[index].deadline = .never
      }
      #expect(control.admission.nextDeadline == model.map(\.deadline).min() ?? .never)
      #expect(control.admission.pendingCount == model.filter(\.isPending).count)
      let distant = model.filter { !$0.source.isLocal }
      #expect(control.admission.distantCount == distant.count)
      #expect(control.admission.countsOfAddresses == (distant.count, distant.filter(\.isPending).count))
    }
  }
}
