/// What stands under one key at the top of a configuration, as a number: comments, blanks and quotes leave it as it is,
/// every other change makes another one.
package struct SectionFingerprint: Sendable, Equatable {
  package let key: [UInt8]
  package let value: UInt64

  init(_ entry: Entry) {
    key = entry.key
    var sum = Fnv()
    sum.add(entry.value)
    value = sum.value
  }
}

/// FNV-1a of 64 bits.
private struct Fnv {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  private mutating func add(_ byte: UInt8) { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }

  private mutating func add(_ text: [UInt8]) {
    for byte in text { add(byte) }
    add(0xFF)  // no byte of UTF-8: it ends the text
  }

  mutating func add(_ node: Node) {
    add(node.kind.rawValue)
    add(node.text)
    for entry in node.entries {
      add(entry.key)
      add(entry.value)
    }
    for item in node.items { add(item) }
    add(0xFE)
  }
}

extension Configuration {
  /// The keys at the top whose values differ from those of `other`, in this file's order and then the other's.
  package func changedKeys(from other: Configuration) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    for own in fingerprints where !other.fingerprints.contains(own) { keys.append(own.key) }
    for old in other.fingerprints where !fingerprints.contains(where: { $0.key == old.key }) { keys.append(old.key) }
    return keys
  }
}
