public import Bounded

/// Names a stream for its life: a place of `Streams` and the place's generation.
public typealias StreamID = Handle<Stream>

/// What lies between a stream's descriptor and the bytes that its owner reads and writes.
public enum Layer: UInt8, BitwiseCopyable, Sendable {
  /// Nothing: a socket's bytes as they are. Fewer than asked for were all that it had (epoll(7)).
  case plain
  /// Nothing either, but a terminal line: it may hand out less than it has, so it is read until it has none.
  case terminal
  /// Records: bytes that are handed out stay the kernel's until `Streams.consume` takes them off.
  case records
}

/// A place of `Streams`.
public struct Stream: BitwiseCopyable {
  struct Flags: OptionSet, BitwiseCopyable {
    let rawValue: UInt8
    /// The kernel may have bytes: nothing said otherwise since the last look.
    static var readable: Flags { Flags(rawValue: 1) }
    static var writable: Flags { Flags(rawValue: 2) }
    /// The peer has closed its side: to be read up to the end, which the kernel does not announce again.
    static var ending: Flags { Flags(rawValue: 4) }
    /// The owner takes no bytes now.
    static var held: Flags { Flags(rawValue: 8) }
    static var terminal: Flags { Flags(rawValue: 16) }
    static var records: Flags { Flags(rawValue: 32) }
  }

  let fd: Int32  // the slab writes over it when the place is given back; what follows stays
  var owner: UInt32
  var peer: PeerAddress
  var flags: Flags
}

/// What has happened to a stream, or at a listener.
public enum StreamEvent {
  /// A listener, named by its place in the order of `listen`, has a new connection, of `arrivedPeer`. Answered by `admit`;
  /// otherwise it is closed at the next call of `next`.
  case arrived(listener: Int)
  /// A listener cannot take connections, mostly for lack of descriptors or memory; it is looked at again after a second.
  case paused(listener: Int, LinuxError)
  /// Bytes that were read, 1 or more. They stay where they are until the next call of `next`.
  case bytes(StreamID, Bytes)
  /// The peer has closed its side, or the descriptor has failed: to be answered by `close`.
  case ended(StreamID)
}
