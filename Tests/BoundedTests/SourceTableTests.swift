import Bounded
import Testing

@Suite struct SourceTableTests {
  private static let second: Int64 = 1_000_000_000

  private func withTable(
    capacity: Int = 8, connectsPerSecond: Int = 1, burst: Int = 3, countMax: Int = 100, pendingMax: Int = 100,
    _ body: (inout SourceTable) -> Void
  ) {
    withReservation { reservation in
      var table = SourceTable(
        capacity: capacity, connectsPerSecond: connectsPerSecond, burst: burst, countMax: countMax,
        pendingMax: pendingMax, name: "sources", in: &reservation)
      body(&table)
    }
  }

  private func address(_ number: Int) -> SourceAddress { SourceAddress(ipv4: 0x0A00_0000 + UInt32(number)) }
  private func seconds(_ count: Double) -> Instant { Instant(nanoseconds: Int64(count * 1e9)) }

  private func isAdmitted(_ answer: SourceTable.Answer) -> Bool {
    if case .admitted = answer { true } else { false }
  }

  @Test func text() {
    let cases: [(SourceAddress, String)] = [
      (.local, "this machine"), (SourceAddress(ipv4: 0xC000_0207), "192.0.2.7"), (SourceAddress(ipv4: 0), "0.0.0.0"),
      (SourceAddress(ipv6Prefix: 0x2001_0DB8_0000_00AF), "2001:db8:0:af::/64"),
      (SourceAddress(ipv6Prefix: 0), "0:0:0:0::/64"), (SourceAddress(ipv6: 0, 1), "::1"),
      (SourceAddress(ipv6: 0, 2), "0:0:0:0::/64"), (SourceAddress(ipv6: 0xFE80 << 48, 1), "fe80:0:0:0::/64"),
      (SourceAddress(ipv6: 0, 0xFFFF_C000_0207), "192.0.2.7"), (SourceAddress(ipv6: 0, 0xFFFF_7F00_0001), "127.0.0.1"),
      (SourceAddress(ipv4: 0x7FFF_FFFE), "127.255.255.254"), (SourceAddress(ipv4: 0x8000_0001), "128.0.0.1"),
    ]
    for (address, text) in cases {
      withReservation { reservation in
        var writer = Scratch(byteCount: 64, name: "text", in: &reservation).writer()
        address.write(into: &writer)
        #expect(String(decoding: writer.written.array(), as: UTF8.self) == text)
      }
      #expect(address.isLocal == (text == "this machine"))
      #expect(address.isLoopback == (text == "::1" || text.hasPrefix("127.")))
    }
  }

  @Test func aBurstThenTheRate() {
    withTable { table in
      for _ in 0..<3 { #expect(isAdmitted(table.admit(address(1), at: seconds(10)))) }
      #expect(table.admit(address(1), at: seconds(10)) == .refused(.tooFast, isNews: true))
      #expect(table.admit(address(1), at: seconds(10.999)) == .refused(.tooFast, isNews: false))
      #expect(isAdmitted(table.admit(address(2), at: seconds(10))))  // has a bucket of its own
      #expect(isAdmitted(table.admit(address(1), at: seconds(11))))
      #expect(table.admit(address(1), at: seconds(11.5)) == .refused(.tooFast, isNews: false))
      for _ in 0..<3 { #expect(isAdmitted(table.admit(address(1), at: seconds(20)))) }  // no more than the bucket holds
      #expect(table.admit(address(1), at: seconds(20)) == .refused(.tooFast, isNews: true))
    }
  }

  @Test func noMoreThanSoManyPending() {
    withTable(burst: 100, pendingMax: 2) { table in
      guard case .admitted(let place) = table.admit(address(1), at: seconds(1)) else { return #expect(Bool(false)) }
      #expect(isAdmitted(table.admit(address(1), at: seconds(1))))
      #expect(table.admit(address(1), at: seconds(1)) == .refused(.tooManyPending, isNews: true))
      #expect(table.admit(address(1), at: seconds(1)) == .refused(.tooManyPending, isNews: false))
      #expect(isAdmitted(table.admit(address(2), at: seconds(1))))
      #expect(table.counts == (3, 3))
      table.leave(place)
      #expect(isAdmitted(table.admit(address(1), at: seconds(1))))
      #expect(table.counts == (4, 3))
      table.end(place)
      #expect(table.counts == (3, 3))
    }
  }

  @Test func noMoreThanSoMany() {  // whether or not they have said who they are
    withTable(burst: 100, countMax: 2) { table in
      guard case .admitted(let place) = table.admit(address(1), at: seconds(1)) else { return #expect(Bool(false)) }
      table.leave(place)
      #expect(table.admits(address(1), at: seconds(1)) == true)
      #expect(isAdmitted(table.admit(address(1), at: seconds(1))))
      #expect(table.admits(address(1), at: seconds(1)) == false)
      #expect(table.admits(address(2), at: seconds(1)) == true)
      #expect(table.admit(address(1), at: seconds(1)) == .refused(.tooMany, isNews: true))
      #expect(table.admit(address(1), at: seconds(1)) == .refused(.tooMany, isNews: false))
      #expect(isAdmitted(table.admit(address(2), at: seconds(1))))
      table.end(place)
      #expect(isAdmitted(table.admit(address(1), at: seconds(1))))
    }
  }

  /// Programs on the board come all at once; how many there are is bounded, of each loopback address by itself.
  @Test func loopbackAddressesMayBeFast() {
    for (one, other) in [
      (SourceAddress(ipv4: 0x7F00_0001), SourceAddress(ipv4: 0x7F00_0002)),
      (SourceAddress(ipv6: 0, 1), SourceAddress(ipv6: 0, 0xFFFF_7F00_0001)),
    ] {
      withTable(countMax: 5, pendingMax: 2) { table in
        for _ in 0..<50 {
          guard case .admitted(let place) = table.admit(one, at: seconds(1)) else { return #expect(Bool(false)) }
          table.leave(place)
          table.end(place)
        }
        for _ in 0..<2 { #expect(isAdmitted(table.admit(one, at: seconds(1)))) }
        #expect(table.admit(one, at: seconds(1)) == .refused(.tooManyPending, isNews: true))
        #expect(table.admit(one, at: seconds(1)) == .refused(.tooManyPending, isNews: false))
        #expect(isAdmitted(table.admit(other, at: seconds(1))))
      }
    }
  }

  @Test func whoIsForgotten() {  // nobody who is pending, and first whose bucket is the fullest
    withTable(capacity: 3, burst: 1) { table in
      guard case .admitted(let one) = table.admit(address(1), at: seconds(10)) else { return #expect(Bool(false)) }
      guard case .admitted(let two) = table.admit(address(2), at: seconds(10.2)) else { return #expect(Bool(false)) }
      #expect(isAdmitted(table.admit(address(3), at: seconds(10.1))))
      table.leave(two)
      table.end(two)
      #expect(isAdmitted(table.admit(address(4), at: seconds(10.3))))  // in the place of 2
      table.leave(one)  // it has said who it is, and stays
      #expect(table.admits(address(1), at: seconds(11.4)) == true)
      table.end(one)
      #expect(table.admit(address(1), at: seconds(10.3)) == .refused(.tooFast, isNews: true))
      #expect(isAdmitted(table.admit(address(2), at: seconds(10.3))))  // in the place of 1
      #expect(isAdmitted(table.admit(address(2), at: seconds(11.3))))
    }
  }

  @Test func ofSeveralTheFullestBucketIsForgotten() {  // who may connect the least is remembered the longest
    withTable(capacity: 3, burst: 1) { table in
      for (number, time) in [(1, 10.1), (2, 10.0), (3, 10.2)] {
        guard case .admitted(let place) = table.admit(address(number), at: seconds(time)) else {
          return #expect(Bool(false))
        }
        table.leave(place)
        table.end(place)
      }
      #expect(isAdmitted(table.admit(address(4), at: seconds(10.3))))  // in the place of 2
      #expect(table.admit(address(1), at: seconds(10.3)) == .refused(.tooFast, isNews: true))
      #expect(table.admit(address(3), at: seconds(10.3)) == .refused(.tooFast, isNews: true))
      #expect(isAdmitted(table.admit(address(2), at: seconds(10.3))))  // in the place of 1
      #expect(table.admit(address(3), at: seconds(10.3)) == .refused(.tooFast, isNews: false))
    }
  }

  /// Against credit that grows with time, at room for every address.
  @Test(arguments: modelCapacities) func againstAModel(burst: Int) {
    let rate = 7
    let cost = SourceTableTests.second / Int64(rate)
    withTable(connectsPerSecond: rate, burst: burst, countMax: 6, pendingMax: 4) { table in
      var random = SeededGenerator(seed: UInt64(burst))
      var now = Instant(nanoseconds: 0)
      var credit = Array(repeating: Int64(burst) * cost, count: 8)
      var pending: [[Int]] = Array(repeating: [], count: 8)
      var known: [[Int]] = Array(repeating: [], count: 8)
      for _ in 0..<20_000 {
        let elapsed = Int64(random.below(random.oneIn(50) ? 3_000_000_000 : 100_000_000))
        now = now.adding(nanoseconds: elapsed)
        for index in credit.indices { credit[index] = min(Int64(burst) * cost, credit[index] + elapsed) }
        let index = random.below(8)
        if random.oneIn(2), let place = pending[index].popLast() {
          table.leave(place)
          if random.oneIn(2) { table.end(place) } else { known[index].append(place) }
          continue
        }
        if random.oneIn(3), let place = known[index].popLast() { table.end(place) }
        let count = known[index].count + pending[index].count
        let mayEnter = table.admits(address(index), at: now)
        switch table.admit(address(index), at: now) {
        case .admitted(let place):
          check(credit[index] >= cost && pending[index].count < 4 && count < 6 && mayEnter, "let in")
          credit[index] -= cost
          pending[index].append(place)
        case .refused(.tooFast, _):
          check(credit[index] < cost && pending[index].count < 4 && count < 6 && !mayEnter, "too fast")
        case .refused(.tooManyPending, _):
          check(pending[index].count == 4 && count < 6 && !mayEnter, "too many pending")
        case .refused(.tooMany, _): check(count == 6 && !mayEnter, "too many")
        }
        let pendingCount = pending.reduce(0) { $0 + $1.count }
        check(table.counts == (pendingCount + known.reduce(0) { $0 + $1.count }, pendingCount), "counts")
      }
    }
  }
}
