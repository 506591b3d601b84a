public import Bounded
import TaplineConfiguration

/// What a configuration takes of the board's memory, known before anything starts: the report of `tapline plan`.
public struct Plan {
  /// Every pool of the loop, in the order of their places.
  public var rows: [ReservationRow]
  /// Bytes that the loop maps at start: the sum of the rows.
  public var byteCount: Int
  /// Bytes that the kernel may hold for sockets when all connections are busy.
  public var kernelSocketBytes: Int
  /// Bytes of the other threads' stacks.
  public var threadStackBytes: Int
  /// The pools' bytes that are the taps', by kind.
  public var taps: [PlanTaps]
  /// What one more connection, session and so on takes.
  public var costs: [PlanCost]
  /// The same configuration with each profile of limits.
  public var profiles: [PlanProfile]

  public init(
    rows: [ReservationRow], byteCount: Int, kernelSocketBytes: Int, threadStackBytes: Int = 0, taps: [PlanTaps] = [],
    costs: [PlanCost] = [], profiles: [PlanProfile] = []
  ) {
    self.rows = rows
    self.byteCount = byteCount
    self.kernelSocketBytes = kernelSocketBytes
    self.threadStackBytes = threadStackBytes
    self.taps = taps
    self.costs = costs
    self.profiles = profiles
  }

  /// All of it.
  public var totalBytes: Int { byteCount + kernelSocketBytes + threadStackBytes + kernelEdgeBytes }
}
