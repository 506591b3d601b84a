import Bounded
import LinuxIO
import MQTTBroker
import TLS
public import TaplineConfiguration

/// OpenSSL, the contexts of listeners that have TLS, and the thread that shakes hands. Made before READY; a reload puts other
/// contexts in place of those that are there.
final class TLSService {
  let library: TLSLibrary
  /// Listeners with TLS at one time.
  let listenerCount: Int
  let lane: ErrandLane
  private(set) var slots: ContextSlots
  /// By slot. One that has been retired is nobody's but its connections'.
  private var contexts: [TLSContext?]

  /// - Parameters:
  ///   - made: contexts with their listeners' places.
  ///   - listenerCount: listeners with TLS at one time.
  init(
    _ library: TLSLibrary, _ made: [MadeContext], listenerCount: Int, _ handshakes: borrowing Handshakes, log: Log
  ) throws(Server.StartError) {
    self.library = library
    self.listenerCount = listenerCount
    slots = ContextSlots(listenerCount: listenerCount)
    contexts = [TLSContext?](repeating: nil, count: slots.count)
    if !library.isWithinPlan(contexts: made.count) {
      log.line(.warning, .server) { line in
        line.write("tapline: OpenSSL ")
        line.write(library.version)
        line.write(" takes more memory than is planned for it; fewer TLS connections than limits: connections may fit")
      }
    }
    do throws(LinuxError) {
      lane = try ErrandLane(
        name: "handshakes", stackBytes: Handshakes.stackBytes, requestsMax: Handshakes.countMax,
        run: handshakes.laneBody())
    } catch {
      throw Server.StartError(text: Server.text("the thread for TLS cannot be started: ", error))
    }
    put(made)
  }

  /// The context of the listener in this place, and its slot; nil: it has none.
  func context(ofListener place: Int) -> (TLSContext, slot: Int)? {
    guard let slot = slots.current(ofListener: place), let context = contexts[slot] else { return nil }
    return (context, slot)
  }

  // MARK: A change of contexts

  /// New connections of these listeners get these contexts.
  func put(_ made: [MadeContext]) {
    for context in made {
      retire(listener: context.place)
      contexts[slots.put(listener: context.place)] = context.context
    }
  }

  /// The listener has no TLS any more, or another context next. Its connections keep what they have.
  func retire(listener place: Int) {
    guard let slot = slots.retire(listener: place) else { return }
    contexts[slot]?.free()
    contexts[slot] = nil
  }

  /// After a change: connections of the oldest contexts give way where there are too many.
  func makeRoom(isUsed: (Int) -> Bool) { slots.makeRoom(isUsed: isUsed) }

  /// No connection of a context that is ending is left.
  func ended() { slots.ended() }
}

/// A context that was made for the listener in a place of `Streams`.
struct MadeContext {
  let place: Int
  let context: TLSContext
}

extension Server {
  /// What is wrong with the files of `tls:` that the configuration names, as the start says it: for `tapline check`. Loads
  /// OpenSSL into this process, once.
  /// - Throws: that OpenSSL cannot be loaded.
  public static func checkFiles(_ configuration: Configuration) throws(StartError) -> FileReport {
    var report = FileReport(file: configuration.file)
    guard hasTLS(configuration.listeners) else { return report }
    let plan = tlsPlan(configuration.listeners, connectionCount: configuration.limits.connectionsMax)
    let arena: MappedMemory
    do throws(LinuxError) {
      arena = try MappedMemory(byteCount: plan.arenaBytes)
    } catch {
      throw StartError(text: text("cannot reserve memory for TLS: ", error))
    }
    let library = try loadTLS(arena.buffer)
    for listener in configuration.listeners {
      guard let settings = listener.layers.tls, let files = TLSFiles(settings, &report) else { continue }
      _ = files.context(library, &report)  // kept, as all must fit at once
    }
    return report
  }

  static func loadTLS(_ arena: UnsafeMutableRawBufferPointer) throws(StartError) -> TLSLibrary {
    do throws(TLSLoadError) {
      return try TLSLibrary(arena: arena)
    } catch {
      throw StartError(text: TLSFiles.text { error.write(into: &$0) })
    }
  }

  static func tlsCount(_ listeners: [ListenerSettings]) -> Int { listeners.count { $0.layers.tls != nil } }

  /// What is reserved for listeners of which one or more has TLS.
  static func tlsPlan(_ listeners: [ListenerSettings], connectionCount: Int) -> TLSPlan {
    TLSPlan(
      listeners: tlsCount(listeners), connections: connectionCount, handshakes: Handshakes.countMax,
      verifiesClients: listeners.contains { $0.layers.tls?.verifiesClients == true })
  }
}
