import Bounded
import MQTTWire

/// One level of a topic name or filter. Subscriptions, shared groups, taps and the retained message hang on
/// the node at which their topic or filter ends. It is 48 bytes; only the tree, which lends it unchangeable, changes it.
struct TopicNode: BitwiseCopyable {
  /// The parent's index (20 bits), the length of the name (5 bits: 0 to 20 bytes, or 21 for a longer one), and the upper
  /// bits of `commonCount`.
  private var identityWord: UInt32
  let hash: UInt32
  /// Children times eight, whether one of them is `+` (1) or `#` (2), which saves looking for them, and whether the node's
  /// topic is the board's (4).
  var childWord: UInt32 = 0
  var subscriptions: Handle<Subscription> = .null
  var groups: Handle<SharedGroup> = .null
  var retained: Handle<Retained> = .null
  var taps: UInt16 = 0  // index + 1 of the first
  private var commonLow: UInt16 = 0
  /// All of a name of up to 20 bytes; else its first 12 and the `Body` with the others.
  var name = InlineArray<20, UInt8>(repeating: 0)

  /// - Parameter identity: of its parent's index and its name's length.
  init(identity: UInt32, hash: UInt32) {
    identityWord = identity
    self.hash = hash
  }

  @inline(__always) static func identity(parentIndex: Int, nameByteCount: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: parentIndex | min(nameByteCount, 21) &<< 20)
  }

  /// Of two nodes of one identity the parents are the same, and the names as long, unless both have more than 20 bytes.
  @inline(__always) func has(identity: UInt32) -> Bool { identityWord & 0x1FF_FFFF == identity }

  /// The parent is lent as long as it has children, so its index names it.
  var parentIndex: Int { Int(identityWord & 0xF_FFFF) }

  var nameByteCount: Int {
    let rest = nameRest
    return rest.isNull ? Int(identityWord &>> 20 & 31) : TopicNode.inlineCount(.max) + rest.byteCount
  }

  /// Entries in common that end here, and children that have some: 23 bits, which is twice as many as there can be.
  var commonCount: Int {
    get { Int(identityWord &>> 25) &<< 16 | Int(commonLow) }
    set {
      precondition(newValue >= 0 && newValue < 1 << 23)
      identityWord = identityWord & 0x1FF_FFFF | UInt32(newValue &>> 16) &<< 25
      commonLow = UInt16(truncatingIfNeeded: newValue)
    }
  }

  var childCount: Int { Int(childWord / 8) }
  /// What is published there is the board's word; the node stays for good.
  var isOwned: Bool { childWord & 4 != 0 }
  /// Whether a match has to find it; otherwise it only leads to its children.
  @inline(__always) var isHung: Bool {
    subscriptions.bits | groups.bits | retained.bits | UInt32(taps) | childWord & 4 != 0
  }
  var isUsed: Bool { childWord != 0 || isHung }

  /// Bytes of a name of so many that lie in the node.
  static func inlineCount(_ nameByteCount: Int) -> Int { nameByteCount <= 20 ? nameByteCount : 12 }

  var nameRest: Body {
    guard identityWord &>> 20 & 31 == 21 else { return .null }
    return withUnsafeBytes(of: name) { $0.loadUnaligned(fromByteOffset: 12, as: Body.self) }
  }

  mutating func setName(_ bytes: Bytes, rest: Body) {
    withUnsafeMutableBytes(of: &name) { place in
      UnsafeMutableRawBufferPointer(rebasing: place[..<bytes.count]).copyMemory(from: bytes.buffer)
      if !rest.isNull { place.storeBytes(of: rest, toByteOffset: 12, as: Body.self) }
    }
  }
}
