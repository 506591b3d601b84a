import Bounded

/// A rule's comparison, compiled. Its bytes lie in the rules' memory.
struct RuleCondition: BitwiseCopyable {
  let comparison: RuleOperator
  /// The path of a member; empty: the payload itself is compared.
  let member: Bytes
  let value: Bytes
  let number: PlainDecimal?
  /// For an order: what ends it once it holds.
  let rearm: PlainDecimal?

  enum Answer: BitwiseCopyable {
    case no
    case yes
    /// There is no number, no JSON object or no single value where one should be: this is no, too.
    case notComparable
  }

  /// Longer payloads are not looked into, so that a message costs little.
  static var jsonBytesMax: Int { 4096 }
  static var numberBytesMax: Int { 64 }

  /// - Parameter held: it held for the message before.
  func answer(_ payload: Bytes, held: Bool) -> Answer {
    guard !member.isEmpty else { return compare(payload, held: held) }
    guard payload.count <= RuleCondition.jsonBytesMax else { return .notComparable }
    do throws(JsonError) {
      guard let value = try JsonObjectReader.value(at: member, in: payload) else { return .no }
      switch value {
      case .string(let text): return compare(text, held: held)
      case .number(let text): return compare(text, held: held)
      case .bool(let isTrue): return compare(isTrue ? Bytes("true") : Bytes("false"), held: held)
      case .null: return compare(Bytes("null"), held: held)
      case .object, .list: return .notComparable
      }
    } catch {
      return .notComparable
    }
  }

  private func compare(_ text: JsonString, held: Bool) -> Answer {
    guard number != nil else { return (text == value) == (comparison == .equal) ? .yes : .no }
    return text.lend { compare($0, held: held) } ?? .notComparable
  }

  private func compare(_ text: Bytes, held: Bool) -> Answer {
    guard let number else {
      return (text == value) == (comparison == .equal) ? .yes : .no
    }
    guard text.count <= RuleCondition.numberBytesMax, let read = try? PlainDecimal(parsing: text) else {
      return .notComparable
    }
    let bound = held ? rearm ?? number : number
    let holds =
      switch comparison {
      case .equal: read == number
      case .notEqual: read != number
      case .less: read < bound
      case .lessOrEqual: !(bound < read)
      case .greater: bound < read
      case .greaterOrEqual: !(read < bound)
      }
    return holds ? .yes : .no
  }
}
