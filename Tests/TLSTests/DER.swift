import Foundation

/// As much of DER (X.690) as certificates need, wrong ones too.
enum DER {
  static func value(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
    let count = content.count
    switch count {
    case ..<128: return [tag, UInt8(count)] + content
    case ..<256: return [tag, 0x81, UInt8(count)] + content
    case ..<65536: return [tag, 0x82, UInt8(count >> 8), UInt8(count & 255)] + content
    default: return [tag, 0x83, UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255)] + content
    }
  }

  static func sequence(_ parts: [UInt8]...) -> [UInt8] { value(0x30, parts.flatMap { $0 }) }
  static func set(_ parts: [UInt8]...) -> [UInt8] { value(0x31, parts.flatMap { $0 }) }
  static func explicit(_ number: UInt8, _ content: [UInt8]) -> [UInt8] { value(0xA0 | number, content) }
  static func octets(_ content: [UInt8]) -> [UInt8] { value(0x04, content) }
  static func bits(_ content: [UInt8]) -> [UInt8] { value(0x03, [0] + content) }
  static func number(_ number: UInt32) -> [UInt8] {
    var bytes = withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) }
    while bytes.count > 1, bytes[0] == 0, bytes[1] < 0x80 { bytes.removeFirst() }
    return value(0x02, bytes[0] < 0x80 ? bytes : [0] + bytes)
  }
  static var yes: [UInt8] { [0x01, 0x01, 0xFF] }
  /// "200101000000Z"
  static func time(_ text: String) -> [UInt8] { value(0x17, Array(text.utf8)) }

  static func object(_ numbers: [Int]) -> [UInt8] {
    var content = [UInt8(numbers[0] * 40 + numbers[1])]
    for number in numbers.dropFirst(2) {
      var septets = [UInt8(number & 127)]
      var rest = number >> 7
      while rest > 0 {
        septets.insert(UInt8(rest & 127) | 128, at: 0)
        rest >>= 7
      }
      content += septets
    }
    return value(0x06, content)
  }

  static func pem(_ label: String, _ bytes: [UInt8]) -> [UInt8] {
    let text = Data(bytes).base64EncodedString(options: [.lineLength64Characters, .endLineWithLineFeed])
    return Array("-----BEGIN \(label)-----\n\(text)\n-----END \(label)-----\n".utf8)
  }
}

/// One common name of a subject: the tag of its string, and what is in it.
struct NameString {
  var tag: UInt8 = 0x0C
  var bytes: [UInt8]

  init(_ text: String) { bytes = Array(text.utf8) }
  init(tag: UInt8, _ bytes: [UInt8]) {
    self.tag = tag
    self.bytes = bytes
  }

  /// A relative distinguished name.
  var der: [UInt8] { DER.set(DER.sequence(DER.object([2, 5, 4, 3]), DER.value(tag, bytes))) }
}
