import Bounded

/// Which thread reads which sensor: one a device, so that a device that hangs holds up its own channels and nobody else.
/// With more devices than `lanesMax` some share one.
public struct SensorLanes: Sendable {
  /// By sensor; simulated ones are read by none.
  private var lanes: [UInt8] = []
  /// Sensors of each lane, 1 or more.
  public private(set) var counts: [Int] = []

  public static var lanesMax: Int { 16 }

  public init(_ sensors: [SensorSettings]) {
    var deviceCount = 0
    for (index, sensor) in sensors.enumerated() {
      var lane = 0
      if !sensor.source.isSimulated {
        if let same = (0..<index).first(where: { sensors[$0].source.isOfOneDevice(with: sensor.source) }) {
          lane = Int(lanes[same])
        } else {
          lane = deviceCount % SensorLanes.lanesMax
          deviceCount += 1
        }
        if lane == counts.count { counts.append(0) }
        counts[lane] += 1
      }
      lanes.append(UInt8(lane))
    }
  }

  public func lane(of sensor: Int) -> Int { Int(lanes[sensor]) }
}

extension SensorSource {
  var isSimulated: Bool {
    if case .simulatedWave = self { return true }
    return false
  }

  fileprivate func isOfOneDevice(with other: SensorSource) -> Bool {
    switch (self, other) {
    case (.device(let kind, let name, _), .device(let otherKind, let otherName, _)):
      return kind == otherKind && name == otherName
    case (.file(let path), .file(let otherPath)):
      return path == otherPath
    case (.device, _), (.file, _), (.simulatedWave, _):
      return false
    }
  }
}
