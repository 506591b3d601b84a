import Bounded
import LinuxIO
import TaplineConfiguration
import Taps

/// Memory for the state file's bytes: as they are composed, and as they are written.
struct StateRoom: ~Copyable {
  let composed: Scratch
  let underway: Scratch

  init(_ taps: TapSettings, in reservation: inout Reservation) {
    let byteCount = taps.persist == nil ? 0 : SavedState.byteCountMax(taps)
    composed = Scratch(byteCount: byteCount, name: "state file", in: &reservation)
    underway = Scratch(byteCount: byteCount, name: "  under way", in: &reservation)
  }
}

/// The state file while the daemon lives: read once at start, written when something changed, at most once in the
/// configured interval, and at the end. What cannot be read is set aside, and never keeps the daemon from starting.
final class StateKeeper {
  /// The failure that the log tells of, until a write succeeds.
  var toldError: LinuxError?
  let file: [UInt8]
  /// Entries that the last life has left; see `TapSettings.savedEntries`.
  let previousEntries: [SavedEntry]
  /// When the state is to be written.
  private(set) var dueAt = Instant.never
  private(set) var figures = StateFigures()

  private let interval: Int64
  private let saver: FileSaver
  private let composed: UnsafeMutableRawBufferPointer
  private var composedByteCount = 0
  private let entries: [SavedEntry]
  /// What the configuration does not know; goes on with the file.
  private var unknown: SavedState
  private let droppedCount: Int
  private var writtenAt: Instant?

  private init(
    _ persist: PersistSettings, _ settings: TapSettings, _ saved: SavedState, _ room: borrowing StateRoom
  ) throws(LinuxError) {
    file = persist.file
    interval = persist.intervalNanoseconds
    entries = settings.savedEntries
    previousEntries = saved.entries
    (unknown, droppedCount) = saved.unknown(to: settings)
    composed = room.composed.buffer
    let memory = room.underway.buffer
    saver = try persist.file.lend { path throws(LinuxError) in try FileSaver(path: path, memory: memory) }
  }

  /// Reads the file and gives the taps what it says; nil when the configuration wants none. Throws when there is no
  /// thread for it.
  static func open(
    _ taps: TapTable, _ room: borrowing StateRoom, log: Log
  ) throws(LinuxError) -> StateKeeper? {
    guard let persist = taps.settings.persist else { return nil }
    let saved = StateFile(path: persist.file, log: log).read()
    taps.restore(saved)
    let keeper = try StateKeeper(persist, taps.settings, saved, room)
    keeper.tellUnknown(log)
    return keeper
  }

  private func tellUnknown(_ log: Log) {
    guard unknown.lineCount + droppedCount > 0 else { return }
    log.line(.notice, .state) { line in
      line.write("tapline: the state file also has ")
      line.writeDecimal(UInt64(unknown.lineCount))
      line.write(" lines that the configuration does not know, which are kept")
      if droppedCount > 0 {
        line.write("; dropped for lack of room: ")
        line.writeDecimal(UInt64(droppedCount))
      }
    }
  }

  var fd: Int32 { saver.fd }

  /// Something that the file says is different now. Written a second later, so that what comes together is one write.
  func changed(at now: Instant) {
    let soonest = now.adding(seconds: 1)
    dueAt = min(dueAt, writtenAt.map { max(soonest, $0.adding(nanoseconds: interval)) } ?? soonest)
  }

  /// An entry of an earlier life that is not in the settings needs no remembering any more.
  func forget(entryNamed name: [UInt8], at now: Instant) {
    unknown.forget(entryNamed: name)
    changed(at: now)
  }

  /// Composes the file's bytes, without writing them.
  func compose(_ taps: TapTable, at now: Instant) {
    var writer = ByteWriter(composed)
    writer.beginSavedState()
    taps.writeSaved(into: &writer, at: now)
    for entry in entries { writer.write(entry) }
    unknown.write(into: &writer)
    writer.endSavedState()
    precondition(!writer.overflowed)
    composedByteCount = writer.count
  }

  /// Hands over what was composed. While a write is under way it waits for that one's end.
  func write(at now: Instant, nextAt: Instant) {
    guard saver.save(Bytes(UnsafeRawBufferPointer(rebasing: composed[..<composedByteCount]))) else {
      dueAt = now.adding(seconds: 1)
      return
    }
    writtenAt = now
    dueAt = nextAt
  }

  /// The end of a write; the error of one that failed, which is tried again after the interval.
  func takeOutcome(at now: Instant) -> (isSaved: Bool, error: LinuxError?)? {
    saver.takeOutcome().map { count($0, at: now) }
  }

  /// As `takeOutcome`, but waits.
  func waitForOutcome(until deadline: Instant, at now: Instant) -> (isSaved: Bool, error: LinuxError?)? {
    saver.waitForOutcome(until: deadline).map { count($0, at: now) }
  }

  var isBusy: Bool { saver.isBusy }

  private func count(_ outcome: FileSaver.Outcome, at now: Instant) -> (isSaved: Bool, error: LinuxError?) {
    switch outcome {
    case .saved:
      figures.writes &+= 1
      figures.bytesWritten &+= UInt64(composedByteCount)
      return (true, nil)
    case .failed(let error):
      figures.failures &+= 1
      dueAt = min(dueAt, now.adding(nanoseconds: interval))
      return (false, error)
    }
  }
}

/// `$SYS/tapline/state/...`.
struct StateFigures: BitwiseCopyable {
  var writes: UInt64 = 0
  var bytesWritten: UInt64 = 0
  var failures: UInt64 = 0
}

/// Reading the file at start, and what is said about it.
private struct StateFile {
  let path: [UInt8]
  let log: Log

  /// Empty where there is none, or none that can be believed.
  func read() -> SavedState {
    do throws(LinuxError) {
      let bytes = try path.lend { path throws(LinuxError) in try Files.read(path, bytesMax: SavedState.bytesMax) }
      return state(bytes)
    } catch {
      switch error {
      case .noEntry: say(.notice, Bytes("is not there yet; starting without it"), .empty)
      case .isDirectory: say(.error, Bytes("is a directory; give 'persist' the name of a file in it"), .empty)
      default: setAside(error.text)
      }
      return SavedState()
    }
  }

  private func state(_ bytes: [UInt8]) -> SavedState {
    do throws(SavedStateDamage) {
      return try bytes.lend { bytes throws(SavedStateDamage) in try SavedState(bytes) }
    } catch {
      setAside(Bytes(error.text))
      return SavedState()
    }
  }

  private func setAside(_ reason: Bytes) {
    do throws(LinuxError) {
      try path.lend { path throws(LinuxError) in try Files.setAside(path) }
      say(.error, reason, Bytes("; renamed to the same with .bad, starting without it"))
    } catch {
      say(.error, reason, Bytes("; starting without it, and it cannot be renamed: "), error.text)
    }
  }

  private func say(_ priority: Log.Priority, _ first: Bytes, _ second: Bytes, _ third: Bytes = .empty) {
    log.line(priority, .state) { line in
      line.write("tapline: state file ")
      path.lend { line.write($0) }
      line.write(" ")
      line.write(first)
      line.write(second)
      line.write(third)
    }
  }
}
