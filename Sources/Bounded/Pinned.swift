import Synchronization

/// Keeps what holds it where it lies. A large structure of plain fields is copied by the compiler wherever it is borrowed
/// by a call, and the broker is thousands of bytes of such; one that holds an atomic has an address, and is not.
struct Pinned: ~Copyable {
  private let never = Atomic<UInt8>(0)
}
