public import Bounded
import COpenSSL

public enum TLSState: UInt8, BitwiseCopyable, Sendable {
  case handshaking
  case open
  /// The peer has said that it sends no more (close_notify); it may still read.
  case halfClosed
  /// We have said so; what the peer still sends is read.
  case closing
  case closed
  case failed
}

/// How far a call came.
public struct TLSStep: BitwiseCopyable, Sendable {
  public enum Event: BitwiseCopyable, Sendable {
    /// All whole records are used up. Of the record that begins so many bytes are needed, from the first one not taken.
    case needsBytes(Int)
    /// The output has no room: send what is in it, and call again with what was not taken.
    case needsOutput
    /// Plaintext is left: use what is there, and call again with what was not taken.
    case plaintextFull
    /// The handshake is done. What was not taken is for the next call.
    case opened
    /// The peer has said that nothing more comes.
    case ended
    /// Everything is written.
    case done
    /// For good. What was produced is an alert for the peer.
    case failed(TLSFault)
  }

  public var event = Event.done
  /// Bytes of the input that were used up.
  public var taken = 0
  /// Bytes of records in the output, to be sent whatever the event is.
  public var produced = 0
  /// Bytes of plaintext: received, or sent.
  public var plaintext = 0
}

/// One TLS connection: bytes of the network in, plaintext out, and back. It is a handle, whose owner frees it once; of its
/// copies only the newest may be used. Not for two threads at a time; when it goes to another thread, whatever hands it over
/// orders the memory.
///
///     handshaking ─▶ open ─▶ halfClosed ─▶ closed      any of them ─▶ failed
///                      └───▶ closing ──────▲
///
/// Invariant: `pointer` is COpenSSL's connection until `free`.
public struct TLSConnection: BitwiseCopyable, @unchecked Sendable {
  /// Bytes that a peer may send before the handshake is done. OpenSSL alone would wait for a ClientHello of 131 KiB.
  public static var handshakeBytesMax: Int { 32 << 10 }
  /// The output that a call of `receive` has in a handshake: a flight with a chain of certificates fits.
  public static var handshakeOutputBytes: Int { 20 << 10 }
  /// What a record takes beside its plaintext at most, and the output that `receive` and `close` need.
  public static var recordOverhead: Int { 64 }
  /// Plaintext of one record that is sent. A receiver can use a record only when all of it is there and needs a buffer of its
  /// size: small devices have 4 KiB. Larger ones would save 0.5 % of the bytes.
  public static var recordBytesMax: Int { 4096 }
  /// Records without plaintext (empty, KeyUpdate, warnings) that a peer may send for each KiB of plaintext.
  public static var barrenRecordsMax: Int { 32 }

  private let pointer: OpaquePointer
  private var records: TLSRecords
  public private(set) var state = TLSState.handshaking
  /// Whether the last call's output was too small for the handshake's records. The next `receive` writes the rest before it
  /// takes more, so it is called again even without input.
  public private(set) var hasMoreOutput = false
  /// Bytes that the peer takes in a record (RFC 6066, section 4).
  private var fragmentMax: UInt16 = 0
  private var barrenRecords: UInt8 = 0
  /// Plaintext since they were last counted from 0.
  private var fertileBytes: UInt16 = 0

  /// nil when the arena is full.
  /// - Parameter isBounded: whether a handshake fails that takes more memory than the plan has for one connection, and twice
  ///   what the own certificates take, whatever the arena has. What OpenSSL fetches at its first handshakes counts, so
  ///   `TLSContext.rehearse` comes before.
  public init?(_ context: TLSContext, isBounded: Bool = false) {
    var bounds = copenssl_bounds(shaking: .max, open: .max)
    if isBounded {
      bounds.open = Int64(TLSLibrary.connectionBytes(verifiesClients: context.verifiesClients))
      bounds.shaking = bounds.open + Int64(TLSLibrary.handshakeBytes + 2 * context.certificateByteCount)
    }
    guard let made = copenssl_connection_new(context.pointer, bounds) else { return nil }
    pointer = made
    records = TLSRecords(isServer: !context.isClient)
  }

  /// Gives the connection's memory back, in any state. Nothing may follow.
  public func free() { copenssl_connection_free(pointer) }

  /// What of `input` the next `receive` would take. It touches nothing of OpenSSL: the loop asks it before it hands records to
  /// the thread for handshakes, while no other thread uses the connection.
  public func framing(_ input: Bytes) -> TLSFraming { records.all(input) }

  /// Bytes from the network, beginning with those that the call before did not take. Goes from record to record until
  /// something is to be done.
  /// - Parameters:
  ///   - plaintext: where content goes; it may be empty while the handshake is not done.
  ///   - output: at least `recordOverhead` bytes. While the handshake is not done, less than `handshakeOutputBytes` may take
  ///     several calls for one flight, which OpenSSL keeps meanwhile.
  public mutating func receive(
    _ input: Bytes, plaintext: UnsafeMutableRawBufferPointer, output: UnsafeMutableRawBufferPointer
  ) -> TLSStep {
    var call = Call(input: input, plaintext: plaintext, output: output)
    while true {
      let event: TLSStep.Event?
      switch state {
      case .handshaking: event = shakeHands(&call)
      case .open, .closing: event = read(&call)
      case .halfClosed, .closed: event = .ended
      case .failed: event = .failed(.violation)
      }
      guard let event else { continue }
      call.step.event = event
      return call.step
    }
  }

  /// The first call of the side that begins.
  public mutating func begin(output: UnsafeMutableRawBufferPointer) -> TLSStep {
    precondition(state == .handshaking && !records.isServer)
    var call = Call(input: .empty, plaintext: UnsafeMutableRawBufferPointer(start: nil, count: 0), output: output)
    call.step.event = handshake(&call, record: .empty) ?? .needsBytes(TLSRecords.headerBytes)
    return call.step
  }

  /// Writes as many bytes as the output has room for, in records of `recordBytesMax` at most, each with `recordOverhead`.
  /// `plaintext` of the answer says how many; the event is `needsOutput` if it is not all. Bytes that were not sent may lie
  /// elsewhere, or be others, at the next call. A connection that has failed answers `failed`.
  public mutating func send(_ bytes: Bytes, output: UnsafeMutableRawBufferPointer) -> TLSStep {
    if state == .failed { return TLSStep(event: .failed(.violation)) }
    precondition(state == .open || state == .halfClosed)
    var call = Call(input: .empty, plaintext: UnsafeMutableRawBufferPointer(start: nil, count: 0), output: output)
    while call.step.plaintext < bytes.count {
      let left = bytes.from(call.step.plaintext)
      let piece = min(left.count, Int(fragmentMax), call.outputFree - TLSConnection.recordOverhead)
      // Nor a crumb of what would fit a record, unless it is all there is.
      guard piece > 0, piece >= min(left.count, 256) else {
        call.step.event = .needsOutput
        return call.step
      }
      let result = call.run(.empty) { copenssl_write(pointer, &$0, left.buffer.baseAddress, Int32(piece)) }
      guard result > 0 else {
        call.step.event = .failed(fail(result))
        return call.step
      }
      call.step.plaintext += Int(result)
    }
    return call.step
  }

  /// Says that we send no more (close_notify). A connection whose handshake is not done is freed instead; one that has failed
  /// answers `failed`.
  public mutating func close(output: UnsafeMutableRawBufferPointer) -> TLSStep {
    if state == .failed { return TLSStep(event: .failed(.violation)) }
    precondition(state == .open || state == .halfClosed)
    var call = Call(input: .empty, plaintext: UnsafeMutableRawBufferPointer(start: nil, count: 0), output: output)
    guard call.outputFree >= TLSConnection.recordOverhead else {
      call.step.event = .needsOutput
      return call.step
    }
    let result = call.run(.empty) { copenssl_shutdown(pointer, &$0) }
    if result == 0 {
      state = state == .open ? .closing : .closed
    } else {
      call.step.event = .failed(fail(result))
    }
    return call.step
  }

  /// The version in use; nil before the handshake is done.
  public var version: TLSVersion? {
    guard records.isOpen else { return nil }
    return copenssl_protocol(pointer) == Int32(COPENSSL_TLS_1_3) ? .tls13 : .tls12
  }

  /// Why it has failed, in words of OpenSSL that stay valid: `certificate has expired`.
  public var reason: Bytes { words(copenssl_reason(pointer)) }

  /// The name in the certificate that the peer has shown.
  public func identity(_ kind: TLSName, into writer: inout ByteWriter) throws(TLSNameError) {
    precondition(records.isOpen)
    try copyName(kind, of: pointer, into: &writer)
  }

  /// For tests: takes new keys and asks the peer for the same (TLS 1.3).
  mutating func updateKeys(output: UnsafeMutableRawBufferPointer) -> TLSStep {
    var call = Call(input: .empty, plaintext: UnsafeMutableRawBufferPointer(start: nil, count: 0), output: output)
    let result = call.run(.empty) { copenssl_update_keys(pointer, &$0) }
    if result != 0 { call.step.event = .failed(fail(result)) }
    return call.step
  }

  // The steps

  /// One record of the handshake; nil: go on.
  private mutating func shakeHands(_ call: inout Call) -> TLSStep.Event? {
    if hasMoreOutput { return handshake(&call, record: .empty) }
    switch records.first(call.rest) {
    case .needs(let byteCount): return .needsBytes(byteCount)
    case .failure(let fault):
      state = .failed
      return .failed(fault)
    case .records(let byteCount): return handshake(&call, record: call.rest.first(byteCount))
    }
  }

  private mutating func handshake(_ call: inout Call, record: Bytes) -> TLSStep.Event? {
    let before = call.step.taken
    let result = call.run(record) { copenssl_handshake(pointer, &$0) }
    records.took(call.step.taken - before)
    hasMoreOutput = result == Int32(COPENSSL_WANTS_ROOM)
    switch Int(result) {
    case 0:
      state = .open
      records.isOpen = true
      fragmentMax = UInt16(min(Int(copenssl_fragment_max(pointer)), TLSConnection.recordBytesMax))
      return .opened
    case COPENSSL_WANTS_ROOM: return .needsOutput
    case COPENSSL_WANTS_INPUT where record.isEmpty || call.step.taken - before == record.count: return nil
    default: return .failed(fail(result))
    }
  }

  /// What is left of a record, or one more; nil: go on.
  private mutating func read(_ call: inout Call) -> TLSStep.Event? {
    var record = Bytes.empty
    if copenssl_pending(pointer) == 0 {
      switch records.first(call.rest) {
      case .needs(let byteCount): return .needsBytes(byteCount)
      case .failure(let fault):
        state = .failed
        return .failed(fault)
      case .records(let byteCount): record = call.rest.first(byteCount)
      }
    }
    guard call.plaintextFree > 0 else { return .plaintextFull }
    guard call.outputFree >= TLSConnection.recordOverhead else { return .needsOutput }
    let place = call.plaintextPlace
    let capacity = Int32(clamping: call.plaintextFree)
    let before = call.step.taken
    let result = call.run(record) { copenssl_read(pointer, &$0, place, capacity) }
    guard result <= 0 else {
      call.step.plaintext += Int(result)
      gained(Int(result))
      return nil
    }
    switch Int(result) {
    case COPENSSL_WANTS_INPUT where call.step.taken - before == record.count: return lost()
    case COPENSSL_ENDED:
      state = state == .open ? .halfClosed : .closed
      return .ended
    default: return .failed(fail(result))
    }
  }

  private mutating func gained(_ byteCount: Int) {
    let bytes = Int(fertileBytes) + byteCount
    if bytes >= 1024 { barrenRecords = 0 }
    fertileBytes = bytes >= 1024 ? 0 : UInt16(bytes)
  }

  /// A record without plaintext.
  private mutating func lost() -> TLSStep.Event? {
    barrenRecords += 1
    guard barrenRecords > TLSConnection.barrenRecordsMax else { return nil }
    state = .failed
    return .failed(.flood)
  }

  private mutating func fail(_ result: Int32) -> TLSFault {
    state = .failed
    guard result == Int32(COPENSSL_FAILED) else { return .violation }
    switch Int(copenssl_cause(pointer)) {
    case COPENSSL_CAUSE_MEMORY: return .noMemory
    case COPENSSL_CAUSE_CERTIFICATE: return .certificate
    case COPENSSL_CAUSE_ALERT: return .alert
    default: return .violation
    }
  }
}

/// The memory that one call is about.
///
/// Invariant: 0 <= step.taken <= input.count, and likewise for plaintext and output.
private struct Call {
  let input: Bytes
  let plaintext: UnsafeMutableRawBufferPointer
  let output: UnsafeMutableRawBufferPointer
  var step = TLSStep()

  init(input: Bytes, plaintext: UnsafeMutableRawBufferPointer, output: UnsafeMutableRawBufferPointer) {
    self.input = input
    self.plaintext = plaintext
    self.output = output
  }

  var rest: Bytes { input.from(step.taken) }
  var outputFree: Int { output.count - step.produced }
  var plaintextFree: Int { plaintext.count - step.plaintext }
  var plaintextPlace: UnsafeMutableRawPointer? { plaintext.baseAddress.map { $0 + step.plaintext } }

  /// Lets `body` read `record` and write to what is left of the output.
  mutating func run(_ record: Bytes, _ body: (inout copenssl_io) -> Int32) -> Int32 {
    var io = copenssl_io()
    io.input = record.buffer.baseAddress
    io.input_count = Int32(record.count)
    io.output = output.baseAddress.map { $0 + step.produced }
    io.output_capacity = Int32(clamping: outputFree)
    let result = body(&io)
    precondition(io.taken >= 0 && io.taken <= io.input_count)
    precondition(io.produced >= 0 && io.produced <= io.output_capacity)
    step.taken += Int(io.taken)
    step.produced += Int(io.produced)
    return result
  }
}
