public import Bounded
import MQTTWire

/// What a user name must be, so that a line of a password file can hold it and every reader of the file reads the same one.
public enum UserName {
  /// The length that a table of users allows where nothing else is said.
  public static var byteCountDefault: Int { 64 }
  /// No table of users allows more.
  public static var byteCountMax: Int { 255 }

  public enum Problem: Equatable, BitwiseCopyable, Sendable {
    case empty
    case tooLong(byteCountMax: Int)
    case notUTF8
    case controlCharacter
    /// mosquitto takes blanks off both ends of a name.
    case outerBlank
    case colon
    /// The line would be a comment.
    case comment
  }

  /// What is wrong with `name`; nil when nothing is.
  public static func problem(_ name: Bytes, byteCountMax: Int) -> Problem? {
    guard !name.isEmpty else { return .empty }
    guard name.count <= byteCountMax else { return .tooLong(byteCountMax: byteCountMax) }
    var index = 0
    while index < name.count {
      guard name[index] >= 0x20, name[index] != 0x7F else { return .controlCharacter }
      guard name[index] != UInt8(ascii: ":") else { return .colon }
      index += 1
    }
    // U+0080...U+009F are control characters too, which some terminals obey: C2 80...C2 9F.
    for index in 0..<(name.count - 1) where name[index] == 0xC2 && name[index + 1] < 0xA0 { return .controlCharacter }
    guard UTF8Check.isValid(name) else { return .notUTF8 }
    guard name[0] != UInt8(ascii: " "), name[name.count - 1] != UInt8(ascii: " ") else { return .outerBlank }
    return name[0] == UInt8(ascii: "#") ? .comment : nil
  }

  /// `the user name is empty`.
  public static func text(_ problem: Problem) -> Text {
    var text = Text("the user name ")
    switch problem {
    case .empty: text.add("is empty")
    case .tooLong(let byteCountMax):
      text.add("is longer than ")
      text.add(byteCountMax, of: "byte")
    case .notUTF8: text.add("is not UTF-8 text")
    case .controlCharacter: text.add("has a control character")
    case .outerBlank: text.add("begins or ends with a blank")
    case .colon: text.add("has a colon, which ends a name in the file")
    case .comment: text.add("begins with #, which makes its line a comment")
    }
    return text
  }
}
