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

    init(_ change: (inout Limits) -> Void) {
      var limits = Limits.forTests
      limits.connectSeconds = 10
      change(&limits)
      var plan = Reservation.counting()
      _ = Admission(limits, in: &plan)
      region = .allocate(byteCount: plan.byteCount, alignment: Reservation.alignment)
      region.initializeMemory(as: UInt8.self, repeating: 0)
      var reservation = Reservation(region: region)
      admission = Admission(limits, in: &reservation)
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
    control.admission.leave(2)
    control.admission.leave(2)  // once
    #expect(control.admission.pendingCount == 1 && control.admission.distantCount == 0)
    #expect(control.admit(3, at: start) == nil)
    control.admission.leave(1)
    control.admission.leave(3)
    #expect(control.admission.pendingCount == 0 && control.admission.first == nil)
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
    #expect(control.admit(3, from: here, at: start) == .tooManyPending(isNews: true))
    #expect(control.admit(3, from: here, at: start) == .tooManyPending(isNews: false))
    #expect(control.admit(3, from: there, at: start) == nil)
    control.admission.leave(1)
    control.admission.leave(2)
    for stream: UInt32 in 4...5 { #expect(control.admit(stream, from: here, at: start) == nil) }
    control.admission.leave(4)
    #expect(control.admit(6, from: here, at: start) == .tooFast(isNews: false))
    for stream: UInt32 in 10..<14 { #expect(control.admit(stream, from: .local, at: start) == nil) }
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
    control.admission.leave(3)
    #expect(control.admission.nextDeadline == .never)
    #expect(control.admission.popExpired(at: after(1_000_000)) == nil)
    control.admission.leave(1)
    control.admission.leave(2)
    #expect(control.admission.pendingCount == 0)
  }

  @Test func severalExpireAtOnce() {
    let control = Control { _ in }
    for stream: UInt32 in 1...4 { #expect(control.admit(stream, at: start) == nil) }
    control.admission.leave(2)
    var expired: [UInt32] = []
    while let stream = control.admission.popExpired(at: start.adding(seconds: 10)) { expired.append(stream) }
    #expect(expired.sorted() == [1, 3, 4])
  }

  /// Against a dictionary, with streams that come, speak, leave and stay silent by chance.
  @Test(arguments: [1, 2, 3, 64]) func behavesLikeADictionary(capacity: Int) {
    var random = SeededGenerator(seed: UInt64(capacity))
    let control = Control {
      $0.connectionsMax = 64
      $0.sessionsMax = 64
      $0.pendingConnectionsMax = capacity
      $0.pendingPerAddressMax = 1000
      $0.connectBurst = 100_000
    }
    var model: [UInt32: Instant] = [:]
    var now = start
    var next: UInt32 = 0
    for _ in 0..<3000 {
      now = now.adding(milliseconds: Int64(random.below(1500)))
      switch random.below(4) {
      case 0, 1:
        next += 1
        let refusal = control.admit(next, from: random.oneIn(2) ? here : .local, at: now)
        #expect((refusal == nil) == (model.count < capacity))
        if refusal == nil { model[next] = now.adding(seconds: 10) }
      case 2:
        guard let stream = model.keys.sorted().randomElement(using: &random) else { continue }
        #expect(control.admission.heard(stream) == model[stream])
        model[stream] = .never
      default:
        guard let stream = model.keys.sorted().randomElement(using: &random) else { continue }
        control.admission.leave(stream)
        model[stream] = nil
      }
      while let stream = control.admission.popExpired(at: now) {
        #expect(model[stream].map { $0 <= now } == true)
        model[stream] = .never
      }
      #expect(control.admission.nextDeadline == model.values.min() ?? .never)
      #expect(control.admission.pendingCount == model.count)
    }
  }
}
