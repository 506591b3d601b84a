import MQTTBroker

/// What an ACL says, in plain words: slow, and nothing in common with the compiled form.
struct ModelRules {
  var rules: [TestRule]

  func may(_ isWriting: Bool, user: String, clientID: String, _ topic: String) -> Bool {
    var isAllowed = false
    for rule in rules {
      guard let filter = filter(of: rule, user: user, clientID: clientID),
        ModelRules.matches(filter, isPattern: rule.subject == .everybody ? rule.filter : filter, topic)
      else { continue }
      switch rule.access {
      case .deny: return false
      case .readWrite: isAllowed = true
      case .read: if !isWriting { isAllowed = true }
      case .write: if isWriting { isAllowed = true }
      }
    }
    return isAllowed
  }

  /// The rule's filter for this client; nil: the rule is not for it.
  func filter(of rule: TestRule, user: String, clientID: String) -> String? {
    switch rule.subject {
    case .anonymous: return user.isEmpty ? rule.filter : nil
    case .user(let name): return user == name ? rule.filter : nil
    case .everybody: break
    }
    var filter = ""
    var rest = Substring(rule.filter)
    while let first = rest.first {
      if rest.hasPrefix("%c") || rest.hasPrefix("%u") {
        let value = rest.hasPrefix("%c") ? clientID : user
        guard !value.isEmpty, !value.contains(where: { "+#/\0".contains($0) }) else { return nil }
        filter += value
        rest = rest.dropFirst(2)
      } else {
        filter.append(first)
        rest = rest.dropFirst()
      }
    }
    return filter
  }

  /// - Parameter text: the filter as it stands in the ACL.
  static func matches(_ filter: String, isPattern text: String, _ topic: String) -> Bool {
    if topic.hasPrefix("$"), !text.hasPrefix("$") { return false }
    return matches(levels(filter)[...], levels(topic)[...])
  }

  static func levels(_ text: String) -> [String] {
    text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
  }

  private static func matches(_ filter: ArraySlice<String>, _ topic: ArraySlice<String>) -> Bool {
    guard let first = filter.first else { return topic.isEmpty }
    if first == "#" { return true }
    guard let level = topic.first, first == "+" || first == level else { return false }
    return matches(filter.dropFirst(), topic.dropFirst())
  }
}
