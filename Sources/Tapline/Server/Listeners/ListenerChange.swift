import LinuxIO
import TLS
import TaplineConfiguration

/// What a reload changes of the listeners. Those that are new listen already, and contexts have shaken hands with themselves;
/// nobody uses either before the loop takes the change over. All that takes memory has been done.
struct ListenerChange {
  struct Opened {
    let place: Int
    let listener: Listener
  }

  /// As they are to be.
  private(set) var rows: [ListenerTable.Row?]
  private(set) var added: [Int] = []
  private(set) var removed: [Int] = []
  /// Places of listeners that stay, with other settings.
  private(set) var altered: [Int] = []
  private(set) var opened: [Opened] = []
  private(set) var contexts: [MadeContext] = []
  /// What cannot be changed without a restart.
  var needRestart: [Text] = []
  /// What the log says of it.
  private(set) var lines: [Text] = []
  /// Of `rows`, once it is finished.
  private(set) var table: ListenerTable
  /// Bit n: place n has a listener, or had one before.
  private var taken: UInt64 = 0

  init(from table: ListenerTable) {
    self.table = table
    rows = table.rows
    for place in rows.indices where rows[place] != nil { taken |= 1 << UInt64(place) }
  }

  var isNothing: Bool { added.isEmpty && removed.isEmpty && altered.isEmpty && contexts.isEmpty }

  // MARK: Rows

  mutating func remove(_ place: Int) {
    note("no longer listening on ", rows[place]!.settings)
    rows[place] = nil
    removed.append(place)
  }

  /// In a place that no listener had before, so that both are open for a moment. There is always one, as a file has 16
  /// listeners at most.
  mutating func add(_ settings: ListenerSettings) {
    let place = (~taken).trailingZeroBitCount
    precondition(place < Streams.listenersMax)
    taken |= 1 << UInt64(place)
    while rows.count <= place { rows.append(nil) }
    rows[place] = ListenerTable.Row(settings: settings)
    added.append(place)
    note("listening on ", settings)
  }

  mutating func alter(_ place: Int, _ settings: ListenerSettings) {
    rows[place]!.settings = settings
    if settings.layers.tls == nil { rows[place]!.digest = 0 }
    altered.append(place)
    note("changed what is listened to on ", settings)
  }

  /// The file says the same of it, perhaps in another line.
  mutating func refresh(_ place: Int, _ settings: ListenerSettings) { rows[place]!.settings = settings }

  // MARK: What was prepared

  mutating func add(_ context: MadeContext, digest: UInt64) {
    contexts.append(context)
    rows[context.place]!.digest = digest
    note("new certificate, key or lists on ", rows[context.place]!.settings)
  }

  mutating func add(_ listener: Listener, at place: Int) { opened.append(Opened(place: place, listener: listener)) }

  mutating func finish() { table = ListenerTable(rows) }

  /// Nothing comes of it.
  func discard(_ opening: inout ListenerOpening) {
    for context in contexts { context.context.free() }
    for new in opened {
      if case .unix(let path, _) = rows[new.place]!.settings.endpoint { path.lend { new.listener.removeFile(at: $0) } }
      opening.takeBack(new.listener)
    }
  }

  private mutating func note(_ start: StaticString, _ settings: ListenerSettings) {
    var line = Text(start)
    settings.describe(into: &line)
    lines.append(line)
  }
}
