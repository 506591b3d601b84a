import Bounded

/// A tap that clients can command, by its place in the list of its kind.
public enum CommandedTap: BitwiseCopyable, Equatable {
  case output(Int)
  case counter(Int)
  case level(Int)
}

/// The commanded taps whose state or fault changed during a call of the broker and has yet to be published.
///
/// A tap needs only one place, however often it is commanded in that call: its publication is written from what the tap has when
/// it is taken out. So no number of commands can leave a retained state that is no longer true.
///
/// Invariant: `entries[place]` has a state or a fault if and only if `waiting` contains `place`.
struct UntoldTaps: ~Copyable {
  struct Entry: BitwiseCopyable {
    var hasState: Bool
    var hasFault: Bool
    /// When the last change was made.
    var wallNanoseconds: Int64
    /// Bytes of the tap's part of `authors`.
    var byByteCount: Int
  }
  private let entries: FixedArray<Entry>
  private let authors: Scratch
  private var waiting: IndexQueue

  init(count: Int, in reservation: inout Reservation) {
    entries = FixedArray(count: count, name: "untold states", in: &reservation)
    authors = Scratch(byteCount: count * Publication.byBytesMax, name: "  authors", in: &reservation)
    waiting = IndexQueue(count: count, name: "  queue", in: &reservation)
  }

  var isEmpty: Bool { waiting.isEmpty }

  mutating func add(_ place: Int, _ update: TapUpdate) {
    guard let newest = update.state ?? update.fault else { return }
    if !waiting.contains(place) {
      entries[place] = Entry(hasState: false, hasFault: false, wallNanoseconds: 0, byByteCount: 0)
    }
    entries[place].wallNanoseconds = newest.wallNanoseconds
    if update.fault != nil { entries[place].hasFault = true }
    if let state = update.state {
      entries[place].hasState = true
      var writer = ByteWriter(authorPlace(place))
      writer.write(state.by)
      precondition(!writer.overflowed)
      entries[place].byByteCount = writer.count
    }
    waiting.push(place)
  }

  /// First added, first taken. `by` is valid until the tap of this place is added again.
  mutating func take() -> (place: Int, entry: Entry, by: Bytes)? {
    guard let place = waiting.pop() else { return nil }
    let entry = entries[place]
    return (place, entry, Bytes(UnsafeRawBufferPointer(authorPlace(place))).first(entry.byByteCount))
  }

  private func authorPlace(_ place: Int) -> UnsafeMutableRawBufferPointer {
    let start = place * Publication.byBytesMax
    return UnsafeMutableRawBufferPointer(rebasing: authors.buffer[start..<(start + Publication.byBytesMax)])
  }
}

extension TapTable {
  /// Remembers that a commanded tap has something to publish, to be taken by `takeUntold` when the broker is free.
  public func tellLater(_ tap: CommandedTap, _ update: TapUpdate) {
    precondition(update.event == nil)  // an event is told as it happens, and commands cause none
    switch tap {
    case .output(let index): untold.add(index, update)
    case .counter(let index): untold.add(outputs.count + index, update)
    case .level(let index): untold.add(outputs.count + counters.count + index, update)
    }
  }

  public var hasUntold: Bool { !untold.isEmpty }

  /// Takes one waiting tap; the update has its state and fault as they are now. Call until nil.
  public func takeUntold() -> TapUpdate? {
    guard let (place, entry, by) = untold.take() else { return nil }
    let wall = entry.wallNanoseconds
    var index = place
    if index < outputs.count {
      return TapUpdate(
        state: entry.hasState ? outputs[index].stateNow(by: by, wallNanoseconds: wall) : nil,
        fault: entry.hasFault ? outputs[index].faultNow(wallNanoseconds: wall) : nil)
    }
    index -= outputs.count
    if index < counters.count {
      return TapUpdate(state: entry.hasState ? counters[index].totalNow(by: by, wallNanoseconds: wall) : nil)
    }
    index -= counters.count
    return TapUpdate(
      state: entry.hasState ? levels[index].stateNow(by: by, wallNanoseconds: wall) : nil,
      fault: entry.hasFault ? levels[index].faultNow(wallNanoseconds: wall) : nil)
  }
}
