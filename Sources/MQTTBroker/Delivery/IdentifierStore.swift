import Bounded
import MQTTWire

/// A subscription identifier of a delivery, in a list of those beside the first, which stands in the delivery itself.
struct IdentifierCell: BitwiseCopyable {
  let identifier: UInt32
  let next: Handle<IdentifierCell>
}

/// The subscription identifiers of deliveries whose message several subscriptions matched (MQTT 5 §3.3.2.3.8): for each
/// delivery a list of those beside its first.
///
/// Invariant: a cell is free or in the list of one delivery.
struct IdentifierStore: ~Copyable {
  private var cells: Slab<IdentifierCell>

  init(limits: Limits, in reservation: inout Reservation) {
    cells = Slab(capacity: limits.subscriptionIDCellsMax, name: "subscription id cells", in: &reservation)
  }

  var gauge: Gauge { cells.gauge }

  subscript(cell: Handle<IdentifierCell>) -> IdentifierCell {
    @inline(__always) unsafeAddress { UnsafePointer(cells.address(cell)) }
  }

  /// Puts an identifier before those of a list; `false`: there is no cell for it.
  mutating func add(_ identifier: UInt32, to list: inout Handle<IdentifierCell>) -> Bool {
    guard let cell = cells.lend(IdentifierCell(identifier: identifier, next: list)) else { return false }
    list = cell
    return true
  }

  /// Gives back a list; answers how many cells it had.
  mutating func free(_ list: Handle<IdentifierCell>) -> UInt32 {
    var count: UInt32 = 0
    var cell = list
    while !cell.isNull {
      let next = cells[cell].next
      cells.giveBack(cell)
      count &+= 1
      cell = next
    }
    return count
  }

  /// How many cells a list has.
  func count(_ list: Handle<IdentifierCell>) -> Int {
    var count = 0
    var cell = list
    while !cell.isNull {
      count += 1
      cell = cells[cell].next
    }
    return count
  }

  /// Bytes of a delivery's Subscription Identifiers as properties of PUBLISH.
  func byteCount(_ delivery: Delivery) -> Int {
    guard delivery.identifier != 0 else { return 0 }
    var byteCount = PublishHead.identifierByteCount(delivery.identifier)
    var cell = delivery.moreIdentifiers
    while !cell.isNull {
      byteCount += PublishHead.identifierByteCount(cells[cell].identifier)
      cell = cells[cell].next
    }
    return byteCount
  }

  /// Writes a delivery's Subscription Identifiers as properties of PUBLISH: `first`, then those of the list `more`.
  func write(_ first: UInt32, _ more: Handle<IdentifierCell>, into writer: inout ByteWriter) {
    PublishHead.writeIdentifier(first, into: &writer)
    var cell = more
    while !cell.isNull {
      PublishHead.writeIdentifier(cells[cell].identifier, into: &writer)
      cell = cells[cell].next
    }
  }
}
