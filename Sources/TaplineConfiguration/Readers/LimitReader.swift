import Bounded
import MQTTBroker

/// `limits:` while it is read: what the file names, and what follows from that.
struct LimitReader {
  private let section: Section?
  private let profile: Limits
  /// Keys that the file names, and that were not complained about.
  private var named: [StaticString] = []
  /// The named limits have their values, the others those of the profile.
  private var settings = LimitSettings()

  static var keys: [StaticString] {
    var names: [StaticString] = ["profile"]
    for key in LimitKey.all { names.append(key.name) }
    return names + ["queue_full"]
  }

  init(_ top: Section) {
    guard let entry = top.entry("limits") else {
      section = nil
      profile = settings.broker
      return
    }
    let section = Section(entry.value, "limits", keys: LimitReader.keys, errors: top.errors)
    self.section = section
    var profiles: [Choice<Limits.Profile>] = []
    for profile in Limits.Profile.all { profiles.append(Choice(profile.name, profile)) }
    settings.profile = section.choice("profile", profiles, default: .board)
    profile = Limits(settings.profile)
    settings.broker = profile
    for key in LimitKey.all where section.has(key.name) { read(key, section) }
    settings.broker.queueFull = section.choice(
      "queue_full",
      [
        Choice("drop-oldest", Limits.QueueFull.dropOldest), Choice("drop-newest", .dropNewest),
        Choice("refuse", .refuse),
      ],
      default: settings.broker.queueFull)
  }

  private mutating func read(_ key: LimitKey, _ section: Section) {
    let fallback = key.get(settings)
    let errorCount = section.errors.count
    let value =
      switch key.unit {
      case .count: section.integer(key.name, key.range, default: fallback)
      case .bytes: section.byteCount(key.name, key.range, default: fallback)
      case .seconds: section.seconds(key.name, key.range, default: fallback)
      }
    guard section.errors.count == errorCount else { return }
    key.set(&settings, value)
    named.append(key.name)
    settings.isProfileChanged = true
  }

  /// The limits with which taps are read; none of them follows from the taps.
  var withoutTaps: Limits {
    var limits = settings.broker
    _ = limits.follow(profile) { isNamed($0) }
    return limits
  }

  /// All of it, with room for the taps that were read. Complains about each named limit that does not go with the others.
  func settings(for needs: LimitNeeds) -> LimitSettings {
    var all = settings
    for problem in all.broker.follow(profile, needs: needs, isNamed: { isNamed($0) }) {
      guard let section, let entry = section.entry(problem.name) else { continue }
      section.errors.add(entry.place, problem.text)
    }
    return all
  }

  /// Limits of users, which follow from the files that are read later.
  var users: UserLimits { settings.users }

  /// Complains about a limit that the file names.
  func complain(_ name: StaticString, _ text: Text) {
    guard let section else { return }
    section.errors.add(section.place(of: name), text)
  }

  private func isNamed(_ name: StaticString) -> Bool { named.contains { Bytes($0) == Bytes(name) } }
}

extension LimitProblem {
  /// `limits: sessions is 32; expected at least 64: as many as connections`.
  var text: Text {
    var text = Text("limits: ")
    text.add(name)
    text.add(" is ")
    text.add(value)
    switch demand {
    case .atLeast(let least):
      text.add("; expected at least ")
      text.add(least)
    case .atMost(let most):
      text.add("; expected at most ")
      text.add(most)
    case .multipleOf(let unit, let such):
      text.add("; expected a multiple of ")
      text.add(unit)
      text.add(" such as ")
      text.add(such)
    }
    text.add(": ")
    text.add(reason)
    return text
  }
}
