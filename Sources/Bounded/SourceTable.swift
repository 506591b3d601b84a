/// Where a connection comes from, as limits by address see it: an IPv4 address, or the first 64 bits of an IPv6
/// address, as whoever has one of those addresses has them all.
public struct SourceAddress: BitwiseCopyable, Equatable, Sendable {
  private enum Kind: UInt8, BitwiseCopyable { case local, ipv4, ipv6 }

  private let bits: UInt64
  private let kind: Kind

  /// This machine: loopback and unix sockets. Not limited.
  public static var local: SourceAddress { SourceAddress(.local, 0) }
  public init(ipv4 address: UInt32) { self.init(.ipv4, UInt64(address)) }
  public init(ipv6Prefix prefix: UInt64) { self.init(.ipv6, prefix) }

  private init(_ kind: Kind, _ bits: UInt64) {
    self.kind = kind
    self.bits = bits
  }

  public var isLocal: Bool { self == .local }

  /// `192.0.2.7`, `2001:db8:0:2::/64`, `this machine`.
  public func write(into writer: inout ByteWriter) {
    switch kind {
    case .local:
      writer.write("this machine")
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

/// How fast each address connects, and how many of its connections have not said who they are: a token bucket and a
/// count an address, in a fixed table. An address that is forgotten begins with a full bucket again; of those without
/// connections the one whose bucket is the fullest goes first, so that is mostly nothing.
///
/// Invariant: an address has one entry; one with `pending` above 0 stays.
public struct SourceTable: ~Copyable {
  public enum Answer: BitwiseCopyable, Equatable {
    /// To be given back with `leave` when it has said who it is, or is gone.
    case admitted(Int)
    /// `isNews`: the first refusal since its bucket was full and its connections were few.
    case tooFast(isNews: Bool)
    case tooManyPending(isNews: Bool)
  }

  private struct Entry: BitwiseCopyable {
    var address: SourceAddress  // local: none; 9 bytes, behind which there is room for these two
    var isTold: Bool
    var pending: UInt32
    /// When the bucket is full again: the tokens taken are what the time until then would fill in.
    var fullAt: Instant
  }

  private let entries: FixedArray<Entry>
  private let nanosecondsPerConnect: Int64
  private let burst: Int64
  private let pendingMax: UInt32

  /// `capacity`: more than there are connections pending of all addresses together.
  public init(
    capacity: Int, connectsPerSecond: Int, burst: Int, pendingMax: Int, name: StaticString,
    in reservation: inout Reservation
  ) {
    entries = FixedArray(count: capacity, name: name, in: &reservation)
    nanosecondsPerConnect = 1_000_000_000 / Int64(connectsPerSecond)
    self.burst = Int64(burst)
    self.pendingMax = UInt32(pendingMax)
  }

  /// A connection from `address`, which is not local, has come.
  public mutating func admit(_ address: SourceAddress, at now: Instant) -> Answer {
    precondition(!address.isLocal)
    let place = place(of: address, at: now)
    let entry = entries[place]
    let fullAt = max(entry.fullAt, now)
    if fullAt == now, entry.pending < pendingMax { entries[place].isTold = false }
    let isNews = !entries[place].isTold
    guard entry.pending < pendingMax else {
      entries[place].isTold = true
      return .tooManyPending(isNews: isNews)
    }
    guard fullAt.since(now) <= (burst - 1) * nanosecondsPerConnect else {
      entries[place].isTold = true
      return .tooFast(isNews: isNews)
    }
    entries[place].fullAt = fullAt.adding(nanoseconds: nanosecondsPerConnect)
    entries[place].pending += 1
    return .admitted(place)
  }

  /// One of the connections that `admit` let in awaits its CONNECT no more.
  public mutating func leave(_ place: Int) {
    precondition(entries[place].pending > 0)
    entries[place].pending -= 1
  }

  /// Connections that await their CONNECT, of all addresses.
  public var pendingCount: Int {
    var count = 0
    for place in 0..<entries.count { count += Int(entries[place].pending) }
    return count
  }

  private func place(of address: SourceAddress, at now: Instant) -> Int {
    var oldest: Int?
    for place in 0..<entries.count {
      if entries[place].address == address { return place }
      guard entries[place].pending == 0 else { continue }
      if oldest == nil || entries[place].fullAt < entries[oldest!].fullAt { oldest = place }
    }
    let place = oldest!  // there are fewer connections pending than entries
    entries[place] = Entry(address: address, isTold: false, pending: 0, fullAt: Instant(nanoseconds: 0))
    return place
  }
}
