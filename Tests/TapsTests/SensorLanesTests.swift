import Taps
import Testing

@Suite struct SensorLanesTests {
  private func lanes(_ sources: [SensorSource]) -> SensorLanes {
    SensorLanes(sources.map { SensorSettings(name: [], source: $0, intervalNanoseconds: 1_000_000_000) })
  }

  @Test func eachDeviceHasItsOwn() {
    let lanes = lanes([
      .hwmon(name: [1], channel: [1]), .iio(name: [1], channel: [1]), .hwmon(name: [1], channel: [2]),
      .simulatedWave, .w1(name: [1]), .w1(name: [2]), .thermal(type: [1]), .file(path: [1]), .file(path: [2]),
      .iio(name: [1], channel: [2]), .supply(name: [1], channel: [1]), .supply(name: [1], channel: [2]),
    ])
    #expect(lanes.counts == [2, 2, 1, 1, 1, 1, 1, 2])
    #expect([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11].map(lanes.lane(of:)) == [0, 1, 0, 2, 3, 4, 5, 6, 1, 7, 7])
  }

  @Test func moreDevicesThanLanesShareThem() {
    let lanes = lanes((0..<40).map { .w1(name: [$0]) } + [.w1(name: [17])])
    #expect(lanes.counts == [3, 4] + [Int](repeating: 3, count: 6) + [Int](repeating: 2, count: 8))
    #expect(lanes.lane(of: 17) == 1 && lanes.lane(of: 40) == 1)
  }

  @Test func noSensorsTakeNoThread() {
    #expect(lanes([]).counts.isEmpty && lanes([.simulatedWave]).counts.isEmpty)
  }
}
