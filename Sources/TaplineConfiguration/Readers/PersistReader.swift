import Taps

/// `persist:` of `taps`, a file's path or `{file: PATH, interval: 60s}`.
extension TapsReader {
  static var persistKeys: [StaticString] { ["file", "interval"] }

  func persist(_ section: Section) -> PersistSettings? {
    guard let entry = section.entry("persist") else { return nil }
    guard entry.value.kind == .mapping else { return named(section, "persist") }
    let own = Section(entry.value, "'persist'", keys: TapsReader.persistKeys, errors: errors)
    if !own.has("file") {
      errors.add(own.place, "'persist' without a 'file'; expected such as {file: /var/lib/tapline/taps, interval: 60s}")
    }
    let milliseconds = own.duration("interval", 1000...86_400_000, default: 60_000)
    guard var settings = named(own, "file") else { return nil }
    settings.intervalNanoseconds = Int64(milliseconds) * 1_000_000
    return settings
  }

  private func named(_ section: Section, _ key: StaticString) -> PersistSettings? {
    guard let file = section.path(key) else { return nil }
    guard file.last != UInt8(ascii: "/") else {
      errors.add(
        section.place(of: key), "a state file's name ends with '/'; expected a file such as /var/lib/tapline/taps")
      return nil
    }
    return PersistSettings(file: file)
  }

  func complainAboutRestore(_ section: Section) {
    errors.add(
      section.place(of: "initial"),
      "'initial: restore' needs a file to restore from; expected 'persist: /var/lib/tapline/taps' in 'taps'")
  }
}
