import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// Sensors: read on slow lanes, published here.
extension Server {
  func takeDueSensors(at moment: Moment) {
    while let action = taps.takeDueSensor(at: moment) {
      switch action {
      case .read(let sensor): submit(sensor, at: moment)
      case .publish(let sensor, let update): tell(update, of: sensor, at: moment.at)
      }
    }
  }

  private func submit(_ sensor: Int, at moment: Moment) {
    let slowLane = slowLanes.lane(of: sensor)
    let number = UInt32(sensor)
    let isTaken: Bool
    switch configuration.taps.sensors[sensor].source {
    case .device(let kind, let name, let channel):
      var file = gateway.scratch.writer()
      if channel.isEmpty {
        file.write(kind.file)
      } else {
        channel.lend { taps.sensors[sensor].filePart.writeName(beside: $0, into: &file) }
      }
      let place = SensorPlace(folder: kind.folder, prefix: kind.prefix, attribute: kind.attribute)
      isTaken = name.lend { slowLane.submit(sensor: number, place: place, name: $0, file: file.written) }
    case .file(let path):
      isTaken = path.lend { slowLane.submit(sensor: number, place: nil, name: .empty, file: $0) }
    case .simulatedWave:
      return
    }
    if !isTaken {
      let update = taps.sensors[sensor].readingFailed(Bytes("slow lane is full"), at: moment)
      tell(update, of: sensor, at: moment.at)
    }
  }

  func takeReadings(lane: Int, at moment: Moment) {
    while let result = slowLanes.lanes[lane].takeResult() {
      let sensor = Int(result.sensor)
      let update: TapUpdate
      if let error = result.error {
        // A device without this file; a device that is not there is `noDevice`.
        update = taps.sensors[sensor].readingFailed(error.text, isMissing: error == .noEntry, at: moment)
      } else {
        update = result.content.withBytes { text in
          taps.sensors[sensor].readingReceived(text, at: moment)
        }
      }
      tell(update, of: sensor, at: moment.at)
    }
  }

  private func tell(_ update: TapUpdate, of sensor: Int, at now: Instant) {
    if let fault = update.fault {
      let (name, channel) = (configuration.taps.sensors[sensor].name, configuration.taps.sensors[sensor].channel)
      if fault.payload.isEmpty {
        board.tell(.notice, .sensors, tap: name, channel: channel, Bytes("is read again"))
      } else {
        board.tell(
          .warning, .sensors, tap: name, channel: channel, fault.payload, "; its next readings are tried as before")
      }
    }
    gateway.publish(update, at: now)
  }
}

/// The threads that read sensors, and which of them reads which.
struct SlowLanes {
  let lanes: [SlowLane]
  private let places: SensorLanes

  /// Starts them.
  init(_ sensors: [SensorSettings], sysfsRoot: [UInt8]) throws(LinuxError) {
    places = SensorLanes(sensors)
    var lanes: [SlowLane] = []
    for count in places.counts {
      lanes.append(
        try sysfsRoot.lend { root throws(LinuxError) in try SlowLane(requestsMax: count, sysfsRoot: root) })
    }
    self.lanes = lanes
  }

  func lane(of sensor: Int) -> SlowLane { lanes[places.lane(of: sensor)] }
}
