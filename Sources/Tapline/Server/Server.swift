// A running server, and the commands that look at a board without one.
//
//   Server/  the loop, and what it does with streams, lines, lanes, the state file and the log
//            Layers/: WebSocket, TLS and what else lies between a stream and MQTT
//            Listeners/: where clients come in, and what a reload changes of that
//   Board/   `KernelBoard`: what the gateway asks of lines and levels, done by the kernel
//   Users/   who may connect: names, passwords, roles; what a reload reads
//   Plan/    what a configuration takes of memory, by the code that takes it
//   Tools/   listing, setting and watching lines
//
// This module owns the order of a turn, the start and the end, and the one mapping that all pools of the loop lie in
// (`Server.memory`). It imports every module below and joins them; it decides about MQTT and taps only what needs
// both the gateway and the kernel. All I/O goes through LinuxIO: nothing here calls C. The loop's thread owns all state
// here; a lane sees only what is handed to it.

import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TLS
public import TaplineConfiguration
import Taps

/// A configured board's server: the gateway, and the loop that joins it to the kernel. One thread runs the loop;
/// whatever may block has a thread of its own, up to one for each device (docs/architecture.md, Threads).
/// Everything is made in `init`; from READY on the loop allocates nothing.
///
/// Files of this type: Server (making, memory), ServerLoop (turns), Alarm (deadlines), ServerStreams (streams), Speaker
/// (who speaks on them), StreamLayers and ServerLayers (what lies before MQTT), ServerConnections, ServerListeners,
/// ServerListenerReload, ServerSerial and SerialPort (serial lines), ServerHandlers (the embedding program's), ServerLines (lines), ServerInputs
/// (inputs, counters), ServerSensors, ServerLevels (PWM channels and LEDs), ServerState and StateKeeper (the state file),
/// ServerLogins (users), ServerReload, ServerFigures ($SYS), ServerLog, ServerStop (the orderly end). What the gateway asks
/// of the kernel is `KernelBoard`'s.
public final class Server {
  let configuration: Configuration
  let log: Log
  let service = ServiceManager()

  let memory: MappedMemory
  let gateway: Gateway<KernelBoard>
  let board: KernelBoard
  var loop: LoopMemory
  var admission: Admission
  /// Each with its `Speaker`.
  var streams: Streams
  var streamsReport = StreamsReport()
  /// Those where clients are accepted, by their places in `streams`.
  var listeners: ListenerTable
  let ports: [SerialPort]
  let poller: Poller
  let signals: Signals
  let slowLanes: SlowLanes

  /// Who may connect, and the reload.
  let doors: Doors

  var presses: [Press]
  /// By the handler's place; nil: an inline one.
  var decoupled: [DecoupledHandler?] = []

  var figures = FigureTimes()
  /// Calls that took memory on the thread that asks; nil where nobody counts them.
  public var allocationCount: (() -> UInt64)?
  var watchdogAt = Instant.never

  /// What can keep a server from starting, in words for the log.
  public struct StartError: Error {
    public var text: Text
    /// What else is wrong, a line each.
    public var more: [Text] = []
    /// The configuration, or a file that it names, is wrong; otherwise it is the machine.
    public var isConfiguration = false
  }

  // MARK: The gateway

  var taps: TapTable { gateway.taps }
  var broker: Broker { _read { yield gateway.broker } }

  var layers: StreamLayers {
    _read { yield loop.layers }
    _modify { yield &loop.layers }
  }

  /// The end has begun: the turn is the last one, and commands are refused.
  var isStopping: Bool {
    get { gateway.isStopping }
    set { if newValue { gateway.beginEnd() } }
  }

  @inline(__always)
  func callBroker<Answer>(_ call: (inout Broker) -> Answer) -> Answer { gateway.callBroker(call) }

  @inline(__always)
  func brokerTurn<Answer>(at now: Instant, _ call: (inout Broker) -> Answer) -> Answer {
    gateway.brokerTurn(at: now, call)
  }

  // MARK: Making

  /// Maps and touches all memory and opens what the configuration names. A missing line or sensor is no error:
  /// its tap says `fault` and is tried again.
  public init(_ configuration: Configuration) throws(StartError) {
    self.configuration = configuration
    do throws(LinuxError) {
      try Process.fillStandardDescriptors()  // where the program has not done so
    } catch {
      throw StartError(text: Server.text("/dev/null cannot take the place of a closed descriptor: ", error))
    }
    log = Log(configuration.log)
    let plan = Server.plan(configuration)
    do throws(LinuxError) {
      signals = try Signals()
      poller = try Poller(eventsMax: 64)
      slowLanes = try SlowLanes(configuration.taps.sensors, sysfsRoot: configuration.sysfsRoot)
      board = try KernelBoard(configuration, log: log, poller: poller)
    } catch {
      throw StartError(text: Server.text("cannot start: ", error))
    }
    do throws(LinuxError) {
      memory = try MappedMemory(byteCount: max(1, plan.byteCount))
    } catch {
      var text = Text("cannot reserve ")
      text.add(plan.byteCount / 1024)
      text.add(" KiB: ")
      text.add(error.text)
      text.add("; lower limits; see tapline plan")
      throw StartError(text: text)
    }
    var reservation = Reservation(region: memory.buffer)
    let now = Clock.now()
    let keys = try Server.drawKeys()
    gateway = Gateway(
      configuration.taps, limits: configuration.limits, handlerLimits: HandlerLimits(configuration.loopLimits),
      keys: keys, access: configuration.accessSizes, board: board, in: &reservation)
    loop = LoopMemory(
      configuration.listeners, configuration.limits, configuration.loopLimits, in: &reservation)
    admission = Admission(
      configuration.limits, serialCount: configuration.listeners.count { $0.isSerial }, in: &reservation)
    streams = Server.streams(
      configuration.limits, readBytes: Server.readBytes(configuration.listeners, configuration.loopLimits), poller,
      in: &reservation)
    listeners = ListenerTable(
      configuration.listeners.filter { !$0.isSerial }.map { ListenerTable.Row(settings: $0) })
    ports = SerialPort.list(configuration.listeners, configuration.limits, in: &reservation)
    let stateRoom = StateRoom(configuration.taps, in: &reservation)
    let rooms = DoorRooms(configuration, key: keys.names, in: &reservation)
    precondition(reservation.byteCount == plan.byteCount)
    do throws(LinuxError) {
      doors = try Doors(rooms, configuration)
    } catch {
      throw StartError(text: Server.text("cannot start: ", error))
    }
    presses = configuration.presses.map { Press($0, from: now) }
    guard gateway.prepare(at: now, onPresence: { [unowned(unsafe) self] presence in self.tell(presence) }) else {
      throw StartError(text: Text("no room for all taps; raise limits: taps, topic_nodes or topic_bytes"))
    }
    try admitUsers()
    gateway.onOutboxesFill = { [unowned(unsafe) self] in self.flushReady(at: self.board.moment.at) }
    do throws(LinuxError) {
      board.stateKeeper = try StateKeeper.open(taps, stateRoom, log: log)
    } catch {
      throw StartError(text: Server.text("the state file's thread cannot be started: ", error))
    }
    try openListeners()
    if let service = loop.service { poll(service.lane.fd, .handshakes, 0) }
    poll(signals.fd, .signals, 0)
    for (index, lane) in slowLanes.lanes.enumerated() { poll(lane.fd, .slowLane, index) }
    if let keeper = board.stateKeeper { poll(keeper.fd, .stateFile, 0) }
    if let lane = doors.passwordLane { poll(lane.fd, .passwords, 0) }
    poll(doors.reload.lane.fd, .reload, 0)
    for index in 0..<board.levelLanes.count { poll(board.levelLanes[index].fd, .level, index) }
  }

  private static func drawKeys() throws(StartError) -> BrokerKeys {
    do throws(LinuxError) {
      return BrokerKeys(names: try Process.randomKey(), identifiers: try Process.randomKey())
    } catch {
      throw StartError(text: text("the kernel gives no random numbers: ", error))
    }
  }

  /// The memory that a configuration takes, without taking it: the same code runs with a reservation that only counts.
  public static func plan(_ configuration: Configuration) -> Plan {
    let reservation = reserved(configuration)
    let laneBytes = SensorLanes(configuration.taps.sensors).counts.count * SlowLane.stackBytes
    return Plan(
      rows: reservation.rows, byteCount: reservation.byteCount,
      kernelSocketBytes: kernelSocketBytes(configuration.limits),
      threadStackBytes: stackBytes + laneBytes + (configuration.taps.persist == nil ? 0 : FileSaver.stackBytes)
        + configuration.taps.levels.count * LevelLane.stackBytes + Doors.stackBytes(configuration)
        + (hasTLS(configuration.listeners) ? Handshakes.stackBytes : 0),
      taps: PlanTaps.list(configuration.taps), costs: PlanCost.list(configuration.limits),
      profiles: PlanProfile.list(configuration))
  }

  /// The part of the plan that the loop maps.
  static func reserved(_ configuration: Configuration) -> Reservation {
    var reservation = Reservation.counting()
    Gateway<KernelBoard>.count(
      configuration.taps, limits: configuration.limits, handlerLimits: HandlerLimits(configuration.loopLimits),
      access: configuration.accessSizes, in: &reservation)
    _ = LoopMemory(
      configuration.listeners, configuration.limits, configuration.loopLimits, in: &reservation)
    _ = Admission(configuration.limits, in: &reservation)
    _ = streams(
      configuration.limits, readBytes: readBytes(configuration.listeners, configuration.loopLimits), nil,
      in: &reservation)
    _ = SerialPort.list(configuration.listeners, configuration.limits, in: &reservation)
    _ = StateRoom(configuration.taps, in: &reservation)
    _ = DoorRooms(configuration, key: BrokerKeys(repeatable: 0).names, in: &reservation)
    return reservation
  }

  /// What the kernel may hold for the sockets of all connections.
  static func kernelSocketBytes(_ limits: Limits) -> Int { limits.connectionsMax * socketBytes }

  /// The bytes of the pools that depend on the limits alone.
  static func loopByteCount(_ limits: Limits) -> Int {
    var reservation = Reservation.counting()
    _ = Broker(limits: limits, keys: BrokerKeys(repeatable: 0), in: &reservation)
    _ = LoopMemory([], limits, LoopLimits(), in: &reservation)
    _ = Admission(limits, in: &reservation)
    _ = streams(limits, readBytes: LoopLimits().readBytes, nil, in: &reservation)
    return reservation.byteCount
  }

  /// - Parameter poller: nil with a reservation that only counts.
  private static func streams(
    _ limits: Limits, readBytes: Int, _ poller: Poller?, in reservation: inout Reservation
  ) -> Streams {
    Streams(
      capacity: limits.connectionsMax, readBytes: readBytes, poller: poller,
      streamTag: TokenKind.stream.rawValue, listenerTag: TokenKind.listener.rawValue, in: &reservation)
  }

  static func hasTLS(_ listeners: [ListenerSettings]) -> Bool {
    for listener in listeners where listener.layers.tls != nil { return true }
    return false
  }

  /// With TLS at least the longest record is read at once.
  static func readBytes(_ listeners: [ListenerSettings], _ limits: LoopLimits) -> Int {
    hasTLS(listeners) ? max(limits.readBytes, Handshakes.inputBytes) : limits.readBytes
  }

  /// The bytes of the loop's stack that are touched before READY. Turns were seen to take 52 KiB with the frames above
  /// them.
  static var stackBytes: Int { 48 * 1024 }

  /// What the kernel lets one TCP connection hold by default: tcp_rmem and tcp_wmem, middle values.
  private static var socketBytes: Int { 131_072 + 16_384 }

  static func text(_ start: StaticString, _ error: LinuxError) -> Text {
    var text = Text(start)
    text.add(error.text)
    return text
  }
}

extension HandlerLimits {
  init(_ limits: LoopLimits) {
    self.init()
    publicationsMax = limits.tapPublishesMax
    publicationBytes = limits.tapPublishBytes
    microseconds = limits.tapMicroseconds
    overrunsMax = limits.tapOverrunsMax
  }
}

/// Memory that the loop itself uses, beside the broker's and the taps'.
struct LoopMemory: ~Copyable {
  let parts: PartList
  var layers: StreamLayers
  var tls: TLSTable
  var handshakes: Handshakes
  /// OpenSSL's memory; empty where no listener has TLS.
  let arena: UnsafeMutableRawBufferPointer
  var service: TLSService?

  init(
    _ listeners: [ListenerSettings], _ limits: Limits, _ loopLimits: LoopLimits, in reservation: inout Reservation
  ) {
    parts = PartList(count: Streams.partsMax, name: "parts of a write", in: &reservation)
    layers = StreamLayers.make(listeners, limits, in: &reservation)
    let readBytes = Server.readBytes(listeners, loopLimits)
    guard Server.hasTLS(listeners) else {
      var nothing = Reservation.counting()
      tls = TLSTable(rowCount: 0, readBytes: readBytes, in: &nothing)
      handshakes = Handshakes(count: 0, in: &nothing)
      arena = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      return
    }
    tls = TLSTable(rowCount: limits.connectionsMax, readBytes: readBytes, in: &reservation)
    handshakes = Handshakes(count: Handshakes.countMax, in: &reservation)
    arena = LoopMemory.arena(Server.tlsPlan(listeners, connectionCount: limits.connectionsMax), in: &reservation)
  }

  /// Four rows of the plan that lie one behind the other.
  private static func arena(_ plan: TLSPlan, in reservation: inout Reservation) -> UnsafeMutableRawBufferPointer {
    let before = reservation.byteCount
    let start = reservation.takeBytes(TLSLibrary.restBytes, name: "OpenSSL")
    _ = reservation.takeBytes(plan.contextBytes, name: "  TLS contexts")
    _ = reservation.takeBytes(plan.connectionBytes, name: "  TLS connections")
    _ = reservation.takeBytes(plan.handshakeBytes, name: "  TLS handshakes")
    precondition(plan.arenaBytes <= reservation.byteCount - before)
    return UnsafeMutableRawBufferPointer(start: start, count: reservation.byteCount - before)
  }
}
