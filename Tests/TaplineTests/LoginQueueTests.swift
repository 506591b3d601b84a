import Bounded
import TaplineConfiguration
import Testing

@testable import MQTTBroker
@testable import Tapline

@Suite("Logins wait in a bounded queue in which addresses take turns")
struct LoginQueueTests {
  private static func queue(logins: Int, perAddress: Int) -> LoginQueue {
    reserved { LoginQueue(UserSettings(logins: logins, perAddress: perAddress).sizes, in: &$0) }
  }

  private static func serial(_ number: Int) -> LinkSerial { LinkSerial(count: UInt64(number), place: 0) }

  private static func add(_ queue: LoginQueue, _ number: Int, from address: UInt32) -> LoginQueue.Refusal? {
    lent("n\(number)") { name in
      lent("p\(number)") { password in
        queue.add(serial(number), transport: 0, from: SourceAddress(ipv4: address), name: name, password: password)
      }
    }
  }

  private static var entry: PasswordEntry { .decoy(.pbkdf2, iterations: 1) }

  @Test func isBoundedInAllAndByAddress() {
    let queue = Self.queue(logins: 3, perAddress: 2)
    #expect(Self.add(queue, 1, from: 1) == nil && Self.add(queue, 2, from: 1) == nil)
    #expect(Self.add(queue, 3, from: 1) == .addressFull)
    #expect(Self.add(queue, 4, from: 2) == nil)
    #expect(Self.add(queue, 5, from: 3) == .full)
    #expect(queue.count == 3)
    queue.end(0)
    #expect(Self.add(queue, 6, from: 1) == nil)
  }

  /// One address has sent all it may before another comes: they take turns from then on.
  @Test func addressesTakeTurns() {
    let queue = Self.queue(logins: 16, perAddress: 8)
    for number in 0..<8 { #expect(Self.add(queue, number, from: 1) == nil) }
    for number in 8..<10 { #expect(Self.add(queue, number, from: 2) == nil) }
    #expect(Self.add(queue, 10, from: 3) == nil)
    var order: [String] = []
    while let place = queue.next() {
      order.append(plain(queue.name(at: place)))
      queue.begin(place, Self.entry, epoch: 0)
      queue.end(place)
    }
    #expect(order == ["n0", "n8", "n10", "n1", "n9", "n2", "n3", "n4", "n5", "n6", "n7"])
  }

  @Test func theAddressWithTheMostGivesWay() {
    let queue = Self.queue(logins: 6, perAddress: 4)
    for (number, address) in [1, 1, 2, 1, 2, 1].enumerated() {
      #expect(Self.add(queue, number, from: UInt32(address)) == nil)
    }
    func givesWay(to address: UInt32) -> String? {
      queue.givesWay(to: SourceAddress(ipv4: address)).map { plain(queue.name(at: $0)) }
    }
    #expect(givesWay(to: 3) == "n5")
    #expect(givesWay(to: 2) == "n5")  // two and four become three and three
    #expect(givesWay(to: 1) == nil)
    // The one that is checked is not one that waits, and gives no way.
    queue.begin(queue.next()!, Self.entry, epoch: 0)
    #expect(givesWay(to: 2) == nil)  // two and three
    queue.end(5)
    #expect(Self.add(queue, 6, from: 3) == nil)
    #expect(givesWay(to: 3) == nil)
    #expect(givesWay(to: 4) == "n4")  // of two addresses with two each, the newest
    queue.wait(0)
    #expect(givesWay(to: 4) == "n3")
  }

  @Test func aPasswordIsWiped() {
    var counting = Reservation.counting()
    let sizes = UserSettings(logins: 2, perAddress: 2).sizes
    _ = LoginQueue(sizes, in: &counting)
    let memory = UnsafeMutableRawBufferPointer.zeroed(counting.byteCount)
    defer { memory.deallocate() }
    var reservation = Reservation(region: memory)
    let queue = LoginQueue(sizes, in: &reservation)
    func holds(_ secret: String) -> Bool { [UInt8](memory).firstRange(of: [UInt8](secret.utf8)) != nil }
    lent("correct horse") {
      #expect(queue.add(Self.serial(1), transport: 0, from: .local, name: Bytes("u"), password: $0) == nil)
    }
    #expect(holds("correct horse"))
    queue.begin(0, Self.entry, epoch: 0)
    queue.end(0)
    #expect(!holds("correct horse"))
  }

  @Test func theLaneChecksWhatWasGiven() {
    let queue = Self.queue(logins: 2, perAddress: 2)
    let long = String(repeating: "ü", count: 127)  // 254 bytes
    for (place, password) in ["", long].enumerated() {
      lent(password) { password in
        let entry = PasswordEntry(password: password, salt: Bytes("s"), iterations: 2)
        #expect(queue.add(Self.serial(1), transport: 0, from: .local, name: Bytes("u"), password: password) == nil)
        queue.begin(place, entry, epoch: 0)
      }
      #expect(queue.check(place))
    }
    queue.end(0)
    lent("x") { #expect(queue.add(Self.serial(1), transport: 0, from: .local, name: Bytes("u"), password: $0) == nil) }
    queue.begin(0, lent(long) { PasswordEntry(password: $0, salt: Bytes("s"), iterations: 2) }, epoch: 0)
    #expect(!queue.check(0))
  }

  /// Against a list of lists: whoever waits, and nobody but them; never two in a row of one address while another address
  /// has waited for as long.
  @Test(arguments: 0..<10) func seededDays(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for capacity in [1, 2, 3, 64] {
      let perAddress = 1 + random.below(capacity)
      let queue = Self.queue(logins: capacity, perAddress: perAddress)
      var waiting: [(number: Int, address: UInt32)] = []
      /// Checks of others since an address began to wait.
      var passed: [UInt32: Int] = [:]
      for number in 0..<2000 {
        if random.oneIn(2) {
          let address = UInt32(1 + random.below(5))
          let ofAddress = waiting.count { $0.address == address }
          let expected: LoginQueue.Refusal? =
            ofAddress >= perAddress ? .addressFull : waiting.count >= capacity ? .full : nil
          #expect(Self.add(queue, number, from: address) == expected)
          if expected == nil {
            if ofAddress == 0 { passed[address] = 0 }
            waiting.append((number, address))
          }
        } else if let place = queue.next() {
          let name = plain(queue.name(at: place))
          let index = waiting.firstIndex { "n\($0.number)" == name }
          guard let index else {
            Issue.record("\(name) does not wait")
            return
          }
          let address = waiting[index].address
          // The oldest of its address.
          #expect(waiting.first { $0.address == address }?.number == waiting[index].number)
          waiting.remove(at: index)
          queue.begin(place, Self.entry, epoch: 0)
          if random.oneIn(8) {
            queue.wait(place)
            waiting.insert((Int(name.dropFirst())!, address), at: index)
          } else {
            queue.end(place)
            passed[address] = 0
            for other in Set(waiting.map(\.address)) where other != address {
              passed[other, default: 0] += 1
              // Four other addresses, each once or twice as its turn falls.
              #expect(passed[other]! <= 10)
            }
          }
        } else {
          #expect(waiting.isEmpty)
        }
        #expect(queue.count == waiting.count)
      }
    }
  }
}
