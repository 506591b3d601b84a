/// Where a connection comes from, as limits by address see it: an IPv4 address, or the first 64 bits of an IPv6
/// address, as whoever has one of those addresses has them all. Each loopback address is one: behind a port forwarder
/// (`ssh -L`, stunnel, docker's proxy) it stands for a whole network.
public struct SourceAddress: BitwiseCopyable, Equatable, Sendable {
  private enum Kind: UInt8, BitwiseCopyable { case local, ipv4, ipv6, loopback6 }

  private let bits: UInt64
  private let kind: Kind

  /// No address: unix sockets, serial lines, and connections that the embedding program brings. Not limited.
  public static var local: SourceAddress { SourceAddress(.local, 0) }
  public init(ipv4 address: UInt32) { self.init(.ipv4, UInt64(address)) }
  public init(ipv6Prefix prefix: UInt64) { self.init(.ipv6, prefix) }

  /// An IPv6 address of two halves. `::1` is an address of its own, and one in `::ffff:0:0/96`, as an IPv6 socket that
  /// takes both families tells of IPv4 clients, is the IPv4 address (RFC 4291 §2.5.3, §2.5.5.2).
  public init(ipv6 high: UInt64, _ low: UInt64) {
    if high == 0, low == 1 {
      self.init(.loopback6, 0)
    } else if high == 0, low >> 32 == 0xFFFF {
      self.init(ipv4: UInt32(truncatingIfNeeded: low))
    } else {
      self.init(ipv6Prefix: high)
    }
  }

  private init(_ kind: Kind, _ bits: UInt64) {
    self.kind = kind
    self.bits = bits
  }

  public var isLocal: Bool { kind == .local }

  /// 127.0.0.0/8 or `::1` (RFC 1122 §3.2.1.3).
  public var isLoopback: Bool { kind == .loopback6 || kind == .ipv4 && bits >> 24 == 127 }

  /// `192.0.2.7`, `2001:db8:0:2::/64`, `::1`, `this machine`.
  @_optimize(size) public func write(into writer: inout ByteWriter) {
    switch kind {
    case .local:
      writer.write("this machine")
    case .loopback6:
      writer.write("::1")
    case .ipv4:
      var shift: UInt64 = 32
      while shift > 0 {
        shift -= 8
        writer.writeDecimal(bits >> shift & 0xFF)
        if shift > 0 { writer.write(".") }
      }
    case .ipv6:
      var shift: UInt64 = 64
      while shift > 0 {
        shift -= 16
        SourceAddress.writeHex(bits >> shift & 0xFFFF, into: &writer)
        writer.write(":")
      }
      writer.write(":/64")
    }
  }

  private static func writeHex(_ number: UInt64, into writer: inout ByteWriter) {
    if number > 15 { writeHex(number >> 4, into: &writer) }
    let digit = UInt8(number & 15)
    writer.write(digit < 10 ? 48 + digit : 87 + digit)
  }
}

/// How fast each address connects, how many connections it has, and how many of these have not said who they are: a
/// token bucket and two counts an address, in a fixed table. The rate has no effect on loopback addresses, as programs on
/// the board itself come all at once after a restart. When the table is full, the address without connections whose
/// bucket is the fullest is forgotten. If it comes back it begins with a full bucket, so it has gained almost nothing.
///
/// Invariant: an address has one entry; one with `count` above 0 stays; `pending` is at most `count`.
public struct SourceTable: ~Copyable {
  public enum Refusal: BitwiseCopyable, Equatable { case tooFast, tooMany, tooManyPending }
  public enum Answer: BitwiseCopyable, Equatable {
    /// To be given back with `leave` when it has said who it is, and with `end` when it is gone.
    case admitted(Int)
    /// `isNews`: the first refusal since its bucket was full and its connections were few.
    case refused(Refusal, isNews: Bool)
  }

  private struct Entry: BitwiseCopyable {
    var address: SourceAddress  // local: none; 9 bytes, behind which there is room for these three
    var isTold: Bool
    var count: UInt16
    var pending: UInt16
    /// When the bucket is full again: the tokens taken are what the time until then would fill in.
    var fullAt: Instant
  }

  private let entries: FixedArray<Entry>
  private let nanosecondsPerConnect: Int64
  private let burst: Int64
  private let countMax: UInt16
  private let pendingMax: UInt16

  /// - Parameters:
  ///   - capacity: more than there are connections of all addresses together.
  ///   - countMax: connections of one address.
  ///   - pendingMax: those of them that await their CONNECT.
  public init(
    capacity: Int, connectsPerSecond: Int, burst: Int, countMax: Int, pendingMax: Int, name: StaticString,
    in reservation: inout Reservation
  ) {
    entries = FixedArray(count: capacity, name: name, in: &reservation)
    nanosecondsPerConnect = 1_000_000_000 / Int64(connectsPerSecond)
    self.burst = Int64(burst)
    self.countMax = UInt16(clamping: countMax)
    self.pendingMax = UInt16(clamping: pendingMax)
  }

  /// A connection from `address`, which is not local, has come.
  @_optimize(size) public mutating func admit(_ address: SourceAddress, at now: Instant) -> Answer {
    precondition(!address.isLocal)
    let place = find(address) ?? begin(address)
    let entry = entries[place]
    let fullAt = max(entry.fullAt, now)
    if fullAt == now, entry.count < countMax, entry.pending < pendingMax { entries[place].isTold = false }
    if let refusal = refusal(of: entry, at: now) {
      let isNews = !entries[place].isTold
      entries[place].isTold = true
      return .refused(refusal, isNews: isNews)
    }
    entries[place].fullAt = min(fullAt, now.adding(nanoseconds: (burst - 1) * nanosecondsPerConnect))
      .adding(nanoseconds: nanosecondsPerConnect)
    entries[place].count += 1
    entries[place].pending += 1
    return .admitted(place)
  }

  /// Whether a connection from `address` would be let in; nothing is counted.
  @_optimize(size) public func admits(_ address: SourceAddress, at now: Instant) -> Bool {
    guard let place = find(address) else { return true }
    return refusal(of: entries[place], at: now) == nil
  }

  private func refusal(of entry: Entry, at now: Instant) -> Refusal? {
    if entry.count >= countMax { return .tooMany }
    if entry.pending >= pendingMax { return .tooManyPending }
    let mayBeFast = entry.address.isLoopback || entry.fullAt.since(now) <= (burst - 1) * nanosecondsPerConnect
    return mayBeFast ? nil : .tooFast
  }

  /// One of the connections that `admit` let in awaits its CONNECT no more.
  public mutating func leave(_ place: Int) {
    precondition(entries[place].pending > 0)
    entries[place].pending -= 1
  }

  /// One of those that await their CONNECT no more is gone.
  public mutating func end(_ place: Int) {
    precondition(entries[place].count > entries[place].pending)
    entries[place].count -= 1
  }

  /// Connections of all addresses, and those of them that await their CONNECT.
  public var counts: (all: Int, pending: Int) {
    var counts = (all: 0, pending: 0)
    for place in 0..<entries.count {
      counts.all += Int(entries[place].count)
      counts.pending += Int(entries[place].pending)
    }
    return counts
  }

  private func find(_ address: SourceAddress) -> Int? {
    for place in 0..<entries.count where entries[place].address == address { return place }
    return nil
  }

  /// Forgets an address for this one.
  private mutating func begin(_ address: SourceAddress) -> Int {
    var oldest: Int?
    for place in 0..<entries.count where entries[place].count == 0 {
      if oldest == nil || entries[place].fullAt < entries[oldest!].fullAt { oldest = place }
    }
    let place = oldest!  // there are fewer connections than entries
    entries[place] = Entry(address: address, isTold: false, count: 0, pending: 0, fullAt: Instant(nanoseconds: 0))
    return place
  }
}
