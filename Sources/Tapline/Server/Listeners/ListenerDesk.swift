import Bounded
import LinuxIO
import TLS
import TaplineConfiguration

/// What a reload makes of `listeners:`. It compares the file with the listeners that are open, reads the files of TLS and makes
/// contexts of those that have changed, and opens what is new. Nothing that is in force is touched.
///
/// The lane has it from a request to its answer, the loop at all other times.
final class ListenerDesk {
  /// The listeners that are open.
  var table: ListenerTable
  var opening: ListenerOpening
  private let room: Room
  private let library: TLSLibrary?
  private let serialLines: [ListenerSettings]

  /// What was reserved at the start.
  private struct Room {
    var hasLayers = false
    var tlsCount = 0
    var verifiesClients = false
  }

  init(
    _ configuration: Configuration, _ table: ListenerTable, _ opening: ListenerOpening, _ library: TLSLibrary?
  ) {
    self.table = table
    self.opening = opening
    self.library = library
    room = Room(
      hasLayers: table.layers.contains { !$0.isNone }, tlsCount: Server.tlsCount(configuration.listeners),
      verifiesClients: configuration.listeners.contains { $0.layers.tls?.verifiesClients == true })
    serialLines = configuration.listeners.filter { $0.isSerial }
  }

  /// What is to be changed for `wanted`, the listeners of the file. With problems in `report` there is nothing to be changed,
  /// and nothing is left open.
  func read(_ wanted: [ListenerSettings], _ report: inout FileReport) -> ListenerChange {
    var change = ListenerChange(from: table)
    if wanted.filter({ $0.isSerial }) != serialLines {
      change.needRestart.append(Text("serial lines of listeners"))
    }
    take(wanted.filter { !$0.isSerial }, into: &change)
    makeContexts(&change, &report)
    if report.problems.isEmpty { open(&change, &report) }
    library?.stopThread()
    guard report.problems.isEmpty else {
      change.discard(&opening)
      return ListenerChange(from: table)
    }
    change.finish()
    return change
  }

  // MARK: What has changed

  private func take(_ wanted: [ListenerSettings], into change: inout ListenerChange) {
    for place in table.rows.indices {
      guard let row = table.rows[place] else { continue }
      if !wanted.contains(where: { $0.isSameEndpoint(as: row.settings) }) { change.remove(place) }
    }
    // Those that keep TLS come before those that would have it.
    var tlsLeft = room.tlsCount - wanted.count { $0.layers.tls != nil && hasTLS($0) }
    for settings in wanted {
      let place = table.place(ofSameEndpoint: settings)
      let last = place.flatMap { table.rows[$0]?.settings }
      if let place, let last, last == settings {
        change.refresh(place, settings)
        continue
      }
      let needsTLS = settings.layers.tls != nil && !hasTLS(settings)
      if let lack = lack(settings, isTLSFull: needsTLS && tlsLeft <= 0) {
        var text = Text("listener ")
        settings.describe(into: &text)
        text.add(" (")
        text.add(lack)
        text.add(")")
        change.needRestart.append(text)
        continue
      }
      if needsTLS { tlsLeft -= 1 }
      if let place { change.alter(place, settings) } else { change.add(settings) }
    }
  }

  /// Whether the listener that is open on the same address has TLS.
  private func hasTLS(_ settings: ListenerSettings) -> Bool {
    guard let place = table.place(ofSameEndpoint: settings) else { return false }
    return table[place].layers.tls != nil
  }

  /// What a listener needs that was not reserved at the start.
  private func lack(_ settings: ListenerSettings, isTLSFull: Bool) -> Text? {
    if settings.layers.isNone { return nil }
    if let tls = settings.layers.tls {
      if library == nil { return Text("no listener had TLS at the start") }
      if tls.verifiesClients && !room.verifiesClients {
        return Text("no listener asked for client certificates at the start")
      }
      if isTLSFull {
        var text = Text("memory is reserved for ")
        text.add(room.tlsCount, of: "listener")
        text.add(" with TLS")
        return text
      }
    }
    return room.hasLayers ? nil : Text("no listener had WebSocket, a proxy or TLS at the start")
  }

  // MARK: What is prepared

  private func makeContexts(_ change: inout ListenerChange, _ report: inout FileReport) {
    guard let library else { return }
    for place in change.rows.indices {
      guard let settings = change.rows[place]?.settings.layers.tls, let files = TLSFiles(settings, &report) else {
        continue
      }
      guard files.digest != change.rows[place]?.digest else { continue }
      if let context = files.context(library, &report) {
        change.add(MadeContext(place: place, context: context), digest: files.digest)
      }
    }
  }

  private func open(_ change: inout ListenerChange, _ report: inout FileReport) {
    for place in change.added {
      guard let settings = change.rows[place]?.settings else { continue }
      if let other = table.overlapping(settings) {
        var text = Text("cannot listen on ")
        settings.describe(into: &text)
        text.add(" beside ")
        other.describe(into: &text)
        text.add(", which is open; expected a reload without the old one first, or a restart")
        report.add(settings.noted, text)
        continue
      }
      switch opening.open(settings) {
      case .success(let listener): change.add(listener, at: place)
      case .failure(let refusal): report.add(settings.noted, refusal.text)
      }
    }
  }
}
