public import Bounded
import MQTTWire

/// Bytes in: framing, packets that have arrived in part, and input that waits until its connection may go on.
extension Broker {
  public enum Receipt: BitwiseCopyable {
    /// All of the input was taken.
    case done
    /// The rest waits until this connection's outbox has been flushed; then call again.
    case needsFlush
    /// A tap ran: what it wants published may be published now; then call again.
    case tapsRan
    /// `outboxesFill`: flush whoever is ready; then call again.
    case outboxesFill
  }

  /// Takes bytes from a connection's transport. `input` is advanced over what was taken.
  ///
  /// A connection whose CONNECT awaits its verdict, or whose acknowledgements await the journal, goes no further: the
  /// broker keeps the rest of the input itself, in blocks for packets in part. A connection for which they do not suffice
  /// is closed. `wantsInput` is false meanwhile.
  /// - Parameter lends: a receiver's outbox may refer to the bytes themselves: they stay as they are until the caller has
  ///   called `settle`, which it does best after a flush.
  public mutating func receive(
    _ input: inout Bytes, on id: ConnectionID, lends: Bool = false, at now: Instant
  ) -> Receipt {
    counters.bytesReceived &+= UInt64(input.count)
    if paused == id {
      hold(&input, of: id, at: now)
      return .done
    }
    if connections[id].heldByteCount > 0 {
      let receipt = receiveHeld(on: id, at: now)
      if receipt == .done, connections[id].heldByteCount > 0 { hold(&input, of: id, at: now) }
      guard receipt == .done, !input.isEmpty else {
        counters.bytesReceived &-= UInt64(input.count)
        return receipt
      }
    }
    let receipt = takeAll(&input, on: id, lends: lends, at: now)
    counters.bytesReceived &-= UInt64(input.count)
    return receipt
  }

  private mutating func takeAll(
    _ input: inout Bytes, on id: ConnectionID, lends: Bool, at now: Instant
  ) -> Receipt {
    while true {
      guard connections[id].isReading else {
        if connections[id].state == .closing { input = .empty } else { hold(&input, of: id, at: now) }
        return .done
      }
      if !acks.isEmpty, acksFill(id) {
        hold(&input, of: id, at: now)
        return .done
      }
      guard hasControlRoom(id) else { return .needsFlush }
      let header: FixedHeader
      let body: Bytes
      let before = input
      switch connections[id].framer.next(&input) {
      case .packet(let found, let whole):
        header = found
        body = whole
        outboxes.lendable = lends ? before.first(before.count - input.count) : .empty
      case .part(let part):
        keep(part, of: id, at: now)
        continue
      case .assembled(let found, let last):
        header = found
        body = assemble(id, last)
        outboxes.lendable = .empty
      case .needsInput:
        if connections[id].framer.isPartial, connections[id].packetDeadline == .never {
          connections[id].packetDeadline = now.adding(seconds: Int64(limits.packetSeconds))
          armConnection(id, at: now)
        }
        return .done
      case .failure(let error):
        if error.reason == .packetTooLarge {
          limitHit(.packetBytes, on: id, size: connections[id].framer.refusedByteCount, .disconnected)
        }
        fail(id, error.reason, at: now)
        continue
      }
      if header.type == .subscribe || header.type == .unsubscribe, awaitsAnswerRoom(header, body, on: id) {
        putBack(header, body, to: &input, before, on: id)
        return .needsFlush
      }
      counters.packetsReceived &+= 1
      connections[id].lastReceived = now
      let tapsRun = counters.tapsRun
      do throws(WireError) {
        try take(header, body, on: id, at: now)
      } catch {
        fail(id, error.reason, at: now)
      }
      outboxes.lendable = .empty  // only this packet's receivers may refer to it
      if connections[id].packetDeadline != .never {
        connections[id].packetDeadline = .never
        armConnection(id, at: now)
      }
      work.did(1)
      if work.isOver, mayPause(id, input) {
        hold(&input, of: id, at: now)
        paused = id
        return stop(outboxesFill ? .outboxesFill : counters.tapsRun != tapsRun ? .tapsRan : .done, at: now)
      }
      if header.type == .publish, outboxesFill { return stop(.outboxesFill, at: now) }
      if counters.tapsRun != tapsRun { return stop(.tapsRan, at: now) }
    }
  }

  /// The caller has something to do before the next packet.
  @inline(never) private mutating func stop(_ receipt: Receipt, at now: Instant) -> Receipt {
    repeated.packetTaken(at: now)
    return receipt
  }

  /// Some connections are ready, and what others hold leaves so little that a further message might find no room in their
  /// outboxes. Flush them before anything else is published: then no reader that reads loses a message for those that do not.
  @inline(__always) public var outboxesFill: Bool { outboxes.hasReady && outboxes.isTight }

  /// The packet comes again with the next call.
  private mutating func putBack(
    _ header: FixedHeader, _ body: Bytes, to input: inout Bytes, _ before: Bytes, on id: ConnectionID
  ) {
    let taken = before.count - input.count
    // What came before this input goes back to where it lay; its blocks have just come free.
    let filled = max(0, body.count - taken)
    let isKept = partials.append(body.first(filled), to: &connections[id].partial)
    precondition(isKept)
    input = before.from(taken - (body.count - filled))
    connections[id].framer.putBack(header, filled: filled)
  }

  private mutating func take(
    _ header: FixedHeader, _ body: Bytes, on id: ConnectionID, at now: Instant
  ) throws(WireError) {
    let version = connections[id].version
    guard connections[id].state == .connected else {
      // The first packet is CONNECT (§3.1.0-1).
      guard header.type == .connect else { throw .protocolError }
      connectReceived(header, body, on: id, at: now)
      return
    }
    switch header.type {
    case .publish:
      try publishReceived(header, body, on: id, at: now)
    case .pubAck, .pubRec, .pubRel, .pubComp:
      let ack = try Ack(type: header.type, body: body, flags: header.flags, version: version)
      try ackReceived(ack, header.type, on: id, at: now)
    case .subscribe:
      try subscribeReceived(try Subscribe(body: body, flags: header.flags, version: version), on: id, at: now)
    case .unsubscribe:
      try unsubscribeReceived(try Unsubscribe(body: body, flags: header.flags, version: version), on: id, at: now)
    case .pingReq:
      guard body.isEmpty else { throw .malformedPacket }
      sendControl(on: id) { writer in Ping.encodeResponse(into: &writer) }
    case .disconnect:
      try disconnectReceived(try Disconnect(body: body, flags: header.flags, version: version), on: id, at: now)
    case .connect, .auth, .connAck, .subAck, .unsubAck, .pingResp:
      throw .protocolError  // a second CONNECT (§3.1.0-2), AUTH without a method (§4.12), server packets
    }
  }

  /// From here on nobody refers to bytes that `receive` was lent.
  public mutating func settle() { outboxes.settle(connections) }

  /// Whether the connection may go on, and the answers to further packets would find room: only then is the transport to
  /// be read.
  public func wantsInput(_ id: ConnectionID) -> Bool {
    connections[id].isReading && !acksFill(id) && hasControlRoom(id) && paused != id
  }

  /// An acknowledgement or DISCONNECT without a reason's text is no longer. CONNACK finds an empty outbox; SUBACK, UNSUBACK
  /// and texts look for room themselves.
  static var controlBytesMax: Int { 16 }

  /// Room for the next packet's answer behind the acknowledgements that wait.
  @inline(__always) private func hasControlRoom(_ id: ConnectionID) -> Bool {
    outboxes.promisesControl(connections[id].outbox, Broker.controlBytesMax &+ connections[id].acks.byteCount)
  }

  // MARK: The turn

  /// Begins a turn of the loop. Next, call `takePaused`, and `receive` for the connection that it names.
  public mutating func beginTurn() { work.begin() }

  /// Counts work of the caller's in this turn as so many steps.
  public mutating func didOtherWork(_ steps: Int) { work.did(steps) }

  /// Whether more input may be taken in this turn.
  public var mayGoOn: Bool { !work.isOver && paused.isNull }

  /// The connection whose input waits from the turn before, and is to be given to `receive` without more before anything
  /// else is read; nil: none. It may wait again.
  public mutating func takePaused() -> ConnectionID? {
    let id = paused
    paused = .null
    return !id.isNull && connections.isLent(id) && connections[id].heldByteCount > 0 ? id : nil
  }

  /// Whether the rest of its input can wait: only one connection's does, and where there is room for it.
  private func mayPause(_ id: ConnectionID, _ input: Bytes) -> Bool {
    paused.isNull && !input.isEmpty && connections[id].state == .connected
      && connections[id].partial.byteCount + input.count <= limits.packetBytesMax
      && partials.gauge.free * partials.blockBytes >= input.count + partials.blockBytes
  }

  // MARK: Input that waits

  /// Whether the broker has input of this connection that it has not looked at. When such a connection wants input,
  /// call `receive` without waiting for more; `nextReady` names it.
  public func holdsInput(_ id: ConnectionID) -> Bool { connections[id].heldByteCount > 0 }

  /// Takes the rest of the input, to be looked at when the connection may go on.
  @inline(never) @_optimize(size) mutating func hold(_ input: inout Bytes, of id: ConnectionID, at now: Instant) {
    let rest = input
    input = .empty
    guard !rest.isEmpty, connections[id].state != .closing else { return }
    // One day it is put in one piece in `assembled`.
    guard connections[id].partial.byteCount + rest.count <= limits.packetBytesMax,
      partials.append(rest, to: &connections[id].partial)
    else {
      partials.gauge.dropped &+= 1
      limitHit(.partialBlocks, on: id, .disconnected)
      closeForRoom(id, at: now)
      return
    }
    connections[id].hold(rest.count)
  }

  private mutating func closeForRoom(_ id: ConnectionID, at now: Instant) {
    if connections[id].state == .connected {
      fail(id, .quotaExceeded, at: now)
    } else {
      refuse(id, .quotaExceeded, at: now)
    }
  }

  /// Takes what was held, as far as the connection may go.
  private mutating func receiveHeld(on id: ConnectionID, at now: Instant) -> Receipt {
    guard connections[id].isReading, !acksFill(id) else { return .done }
    var (packetPart, rest) = takeHeld(id)
    // The part of a packet before it goes back. Should the packet become complete, `assemble` puts that part where it
    // lies in `assembled` now, before its last bytes, and so changes nothing.
    let isKept = partials.append(packetPart, to: &connections[id].partial)
    packetPart = .empty
    let receipt = takeAll(&rest, on: id, lends: false, at: now)
    hold(&rest, of: id, at: now)
    precondition(isKept)  // its blocks have just come back
    return receipt
  }

  /// Empties a connection's chain into `assembled`: a packet's bytes before those that were held, and these.
  mutating func takeHeld(_ id: ConnectionID) -> (packet: Bytes, held: Bytes) {
    var writer = assembled.writer()
    partials.copy(connections[id].partial, into: &writer)
    partials.clear(&connections[id].partial)
    let all = writer.written
    let heldStart = all.count - connections[id].takeHeld()
    return (all.first(heldStart), all.from(heldStart))
  }

  // MARK: Packets in part

  /// When the blocks do not suffice, the slowest goes of those that hold more than their share. Connections that have not
  /// said CONNECT have a small share together, and go first.
  private mutating func keep(_ part: Bytes, of id: ConnectionID, at now: Instant) {
    let isPending = connections[id].state == .awaitingConnect
    if isPending {
      let blockCount = partials.blockCount(for: connections[id].partial.byteCount + part.count)
      guard blockCount <= limits.partialBlocksBeforeConnect else { return giveUp(id, size: blockCount, at: now) }
    }
    while true {
      let isOverShare = isPending && blocksBeforeConnect(with: part.count, of: id) > limits.partialBlocksOfPending
      if !isOverShare, partials.append(part, to: &connections.address(id).pointee.partial) { return }
      let amongPending = isPending || blocksBeforeConnect(with: 0, of: id) > 0
      let slowest = slowestHolder(or: id, amongPending: amongPending, at: now)
      giveUp(slowest, at: now)
      if slowest == id { return }
    }
  }

  @_optimize(size) private mutating func giveUp(_ id: ConnectionID, size: Int = 0, at now: Instant) {
    partials.gauge.dropped &+= 1
    limitHit(.partialBlocks, on: id, size: size, .disconnected)
    fail(id, .quotaExceeded, at: now)
  }

  /// Blocks of connections that have not said CONNECT, with as many bytes more for this one if it is one of them.
  @_optimize(size) private func blocksBeforeConnect(with byteCount: Int, of id: ConnectionID) -> Int {
    var count = 0
    var index = 0
    while index < limits.connectionsMax {
      if let other = connections.handle(at: index), connections[other].state == .awaitingConnect {
        count += partials.blockCount(for: connections[other].partial.byteCount + (other == id ? byteCount : 0))
      }
      index += 1
    }
    return count
  }

  /// The connection whose partial packet comes in the slowest. Of those packets that began a second ago or more it is the one
  /// with the fewest bytes for the time since then: a client that lets a part of a packet lie is slower than one that sends a
  /// large packet. If all began later it is the one that began first.
  /// - Parameters:
  ///   - id: the connection that is answered when no other has a partial packet.
  ///   - amongPending: only connections without CONNECT are looked at.
  private func slowestHolder(or id: ConnectionID, amongPending: Bool, at now: Instant) -> ConnectionID {
    var slowest = id
    var (least, longest) = (Int.max, 1)  // bytes in milliseconds
    var oldest = id
    var oldestDeadline = Instant.never
    var index = 0
    while index < limits.connectionsMax {
      if let other = connections.handle(at: index), connections[other].packetDeadline != .never,
        amongPending
          ? connections[other].state == .awaitingConnect && !connections[other].partial.isEmpty
          : partials.blockCount(for: connections[other].partial.byteCount) > limits.partialBlocksOfOne
      {
        let deadline = connections[other].packetDeadline
        let began = deadline.adding(seconds: -Int64(limits.packetSeconds))
        let milliseconds = Int(max(0, now.since(began)) / 1_000_000)
        let byteCount = connections[other].partial.byteCount
        if milliseconds >= 1000, least == .max || byteCount * longest < least * milliseconds {
          slowest = other
          (least, longest) = (byteCount, milliseconds)
        }
        if deadline < oldestDeadline {
          oldest = other
          oldestDeadline = deadline
        }
      }
      index += 1
    }
    return least < .max ? slowest : oldest
  }

  private mutating func assemble(_ id: ConnectionID, _ last: Bytes) -> Bytes {
    var writer = assembled.writer()
    partials.copy(connections[id].partial, into: &writer)
    writer.write(last)
    partials.clear(&connections.address(id).pointee.partial)
    return writer.written
  }
}
