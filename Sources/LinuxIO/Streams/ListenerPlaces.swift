import Bounded

/// The listeners of `Streams`, each in a place of its own, and which of them have connections that wait. A place is taken and
/// given back while streams are served; its memory is there from the beginning.
///
/// Invariant: bit n of `arriving` is set only while place n has a listener.
struct ListenerPlaces {
  /// The bits of `arriving`.
  static var countMax: Int { 64 }

  private struct Place {
    var listener: Listener?
    /// After accept failed for lack of descriptors: not polled before.
    var pausedUntil = Instant.never
  }

  enum Arrival {
    case connection(place: Int, fd: Int32, PeerAddress)
    case paused(place: Int, LinuxError)
  }

  private let poller: Poller?
  /// The upper half of a listener's token, whose lower half is its place.
  private let tag: UInt64
  private var places = [Place](repeating: Place(), count: ListenerPlaces.countMax)
  /// The end of the first pause.
  private(set) var nextDeadline = Instant.never
  /// Bit n: the listener in place n has connections that wait.
  private var arriving: UInt64 = 0
  private var acceptsLeft = Streams.acceptsMax

  init(poller: Poller?, tag: UInt64) {
    self.poller = poller
    self.tag = tag
  }

  subscript(place: Int) -> Listener? { places[place].listener }

  var count: Int { places.count { $0.listener != nil } }

  /// The lowest place without a listener.
  var firstFree: Int? {
    for place in 0..<places.count where places[place].listener == nil { return place }
    return nil
  }

  /// `false`: it cannot be polled, and is still the caller's.
  mutating func open(_ listener: Listener, at place: Int) -> Bool {
    precondition(places[place].listener == nil)
    guard poll(listener, place) else { return false }
    places[place] = Place(listener: listener)
    return true
  }

  /// Takes no more connections from the listener in this place, which is free again.
  mutating func close(_ place: Int) -> Listener? {
    guard let listener = places[place].listener else { return nil }
    if places[place].pausedUntil == .never { try? poller!.remove(listener.fd) }
    places[place] = Place()
    arrivedAll(at: place)
    findDeadline()
    return listener
  }

  private func poll(_ listener: Listener, _ place: Int) -> Bool {
    (try? poller!.add(listener.fd, token: tag | UInt64(place), interest: .read)) != nil
  }

  // MARK: Arrivals

  /// The poller has an event of a listener. One that has been closed since has none.
  mutating func note(_ place: Int) {
    if places[place].listener != nil { arriving |= 1 << UInt64(place) }
  }

  /// The next connection, or a listener that is left alone for a second.
  mutating func next(at now: Instant) -> Arrival? {
    while arriving != 0 {
      let place = arriving.trailingZeroBitCount
      if acceptsLeft > 0, let listener = places[place].listener {
        acceptsLeft -= 1
        switch listener.accept() {
        case .connection(let fd, let peer):
          return .connection(place: place, fd: fd, peer)
        case .wouldBlock:
          break
        case .failed(let error):
          pause(place, listener, at: now)
          return .paused(place: place, error)
        }
      }
      arrivedAll(at: place)
    }
    return nil
  }

  private mutating func arrivedAll(at place: Int) {
    arriving &= ~(1 << UInt64(place))
    acceptsLeft = Streams.acceptsMax
  }

  // MARK: Pauses

  private mutating func pause(_ place: Int, _ listener: Listener, at now: Instant) {
    try? poller!.remove(listener.fd)
    places[place].pausedUntil = now.adding(seconds: 1)
    arrivedAll(at: place)
    findDeadline()
  }

  /// Looks again at listeners whose pause is over.
  mutating func advance(to now: Instant) {
    guard nextDeadline <= now else { return }
    for place in 0..<places.count where places[place].pausedUntil <= now {
      guard let listener = places[place].listener else { continue }
      places[place].pausedUntil = poll(listener, place) ? .never : now.adding(seconds: 1)
    }
    findDeadline()
  }

  private mutating func findDeadline() {
    nextDeadline = .never
    for place in 0..<places.count { nextDeadline = min(nextDeadline, places[place].pausedUntil) }
  }
}
