import Bounded
import Testing

struct ReservationTests {
  /// One of each container, as the daemon makes them.
  private func makeAll(_ reservation: inout Reservation) {
    _ = Slab<UInt64>(capacity: 5, name: "slab", in: &reservation)
    _ = Ring<UInt16>(capacity: 7, name: "ring", in: &reservation)
    _ = HashIndex(capacity: 5, name: "index", in: &reservation)
    _ = TimerWheel(capacity: 9, name: "timers", in: &reservation)
    _ = BlockPool(blockCount: 3, blockBytes: 128, name: "blocks", in: &reservation)
    _ = ByteQueuePool(
      queueCount: 2, sharedChunkCount: 3, chunkBytes: 512, chunksPerQueueMax: 2, name: "queues", in: &reservation)
    _ = reservation.takeBytes(1, name: "bytes")
    _ = reservation.takeBytes(0, name: "nothing")
  }

  @Test func countingAndMappingGiveTheSamePlan() {
    var counting = Reservation.counting()
    makeAll(&counting)
    withReservation(counting.byteCount) { mapping in
      makeAll(&mapping)
      #expect(mapping.byteCount == counting.byteCount)
      #expect(mapping.rows.count == counting.rows.count)
      for (left, right) in zip(mapping.rows, counting.rows) {
        #expect(left.name.description == right.name.description)
        #expect(left.entryCount == right.entryCount)
        #expect(left.entryBytes == right.entryBytes)
        #expect(left.byteCount == right.byteCount)
      }
    }
  }

  @Test func rowsAddUp() {
    var counting = Reservation.counting()
    makeAll(&counting)
    #expect(counting.rows.reduce(0) { $0 + $1.byteCount } == counting.byteCount)
    for row in counting.rows {
      #expect(row.byteCount % Reservation.alignment == 0)
      #expect(row.byteCount >= row.entryCount * row.entryBytes)
      #expect(row.byteCount < row.entryCount * row.entryBytes + Reservation.alignment)
    }
  }

  /// Each container is new in zeroed memory without having written there.
  @Test func makingTouchesNothing() {
    let region = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: Reservation.alignment)
    defer { region.deallocate() }
    region.initializeMemory(as: UInt8.self, repeating: 0xA5)
    var reservation = Reservation(region: region)
    makeAll(&reservation)
    #expect(region.allSatisfy { $0 == 0xA5 })
  }

  @Test func placesAreAlignedAndApart() {
    var generator = SeededGenerator(seed: 1)
    withReservation { reservation in
      var end = UInt(0)
      for _ in 0..<200 {
        let count = generator.below(40)
        let place: UnsafeMutableRawPointer
        switch generator.below(3) {
        case 0: place = reservation.takeBytes(count, name: "bytes")
        case 1: place = UnsafeMutableRawPointer(reservation.take(UInt64.self, count: count, name: "words"))
        default: place = UnsafeMutableRawPointer(reservation.take(UInt16.self, count: count, name: "halves"))
        }
        let address = UInt(bitPattern: place)
        check(address % UInt(Reservation.alignment) == 0)
        check(address >= end)
        end = address + UInt(reservation.rows.last!.byteCount)
      }
    }
  }

  @Test func exactlyFullIsNotTooMuch() {
    withReservation(128) { reservation in
      _ = reservation.takeBytes(65, name: "two lines")
      #expect(reservation.byteCount == 128)
      _ = reservation.takeBytes(0, name: "nothing")
      #expect(reservation.byteCount == 128)
    }
  }

  @Test func tooMuchTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation(128) { _ = $0.takeBytes(129, name: "three lines") }
    }
    await #expect(processExitsWith: .failure) {
      withReservation(128) { _ = $0.takeBytes(-1, name: "negative") }
    }
  }
}

struct GaugeTests {
  @Test func countsUseAndPeak() {
    var gauge = Gauge(capacity: 5)
    gauge.lent()
    gauge.lent(3)
    gauge.givenBack(2)
    gauge.lent()
    #expect(gauge.used == 3 && gauge.peak == 4 && gauge.free == 2 && gauge.capacity == 5)
    #expect(gauge.refused == 0 && gauge.dropped == 0)
  }

  @Test func givingBackTooMuchTraps() async {
    await #expect(processExitsWith: .failure) {
      var gauge = Gauge(capacity: 5)
      gauge.lent()
      gauge.givenBack(2)
    }
  }
}
