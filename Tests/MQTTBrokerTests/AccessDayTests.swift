import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Days of clients whose rights change: what each publishes, gets and is refused is what the plain model says.
@Suite struct AccessDayTests {
  private final class Resident {
    let name: String
    let user: String?
    let version: ProtocolVersion
    var isHere = false
    var filters: Set<String> = []
    /// What waits for it.
    var queue: [(topic: String, payload: String)] = []
    var willTopic: String?

    init(name: String, user: String?, version: ProtocolVersion) {
      self.name = name
      self.user = user
      self.version = version
    }
  }

  private final class Day {
    let access: AccessWorld
    var world: World { access.world }
    var random: SeededGenerator
    var model = ModelRules(rules: [])
    var hasACL = false
    let residents: [Resident]
    var retained: [String: String] = [:]
    var number = 0

    static let topics = ["a", "a/b", "b", "b/c1", "b/ann", "a/b/c", "$SYS/x", "c1/a", "b/"]
    static let filters = ["#", "+", "a/#", "+/b", "a", "b/+", "+/+/c", "$SYS/#", "b/c1", "+/#", "a/b"]
    static let ruleFilters = filters + ["b/%c", "b/%u", "%c/#", "%u", "a/%c/#"]

    init(seed: UInt64) {
      access = AccessWorld(nil)
      random = SeededGenerator(seed: seed)
      residents = [
        Resident(name: "c1", user: "ann", version: .v5), Resident(name: "c2", user: "ann", version: .v311),
        Resident(name: "c3", user: "bob", version: .v5), Resident(name: "c+", user: nil, version: .v311),
        Resident(name: "c5", user: "none", version: .v5),
      ]
    }

    func pick<Element>(_ list: [Element]) -> Element { list[random.below(list.count)] }

    func may(_ isWriting: Bool, _ resident: Resident, _ topic: String) -> Bool {
      !hasACL || model.may(isWriting, user: resident.user ?? "", clientID: resident.name, topic)
    }

    func isMatch(_ filter: String, _ topic: String) -> Bool {
      ModelRules.matches(filter, isPattern: filter, topic)
    }

    // MARK: Steps

    func reload() {
      hasACL = !random.oneIn(8)
      guard hasACL else { return access.reload(nil) }
      let subjects: [TestRule.Subject] = [
        .anonymous, .everybody, .everybody, .user("ann"), .user("ann"), .user("bob"), .user("eve"),
      ]
      model.rules = (0..<random.below(14)).map { _ in
        TestRule(
          subject: pick(subjects), access: pick([.read, .write, .readWrite, .readWrite, .deny]),
          filter: pick(Day.ruleFilters))
      }
      // The order means nothing.
      access.reload(rules: TestRules(model.rules.shuffled(using: &random)))
    }

    func come(_ resident: Resident) {
      let topic = random.oneIn(3) ? pick(Day.topics.filter { !$0.hasPrefix("$") }) : nil
      let isAllowed = topic.map { may(true, resident, $0) } ?? true
      world.connect(
        resident.name, resident.version, userName: resident.user, cleanStart: false,
        sessionExpiry: resident.version == .v5 ? 10_000 : nil, will: topic.map { WillFields(topic: $0, qos: 1) },
        reason: isAllowed ? .success : .notAuthorized)
      guard isAllowed else { return }
      resident.isHere = true
      resident.willTopic = topic
      let expected = resident.queue.filter { may(false, resident, $0.topic) }.map { "\($0.topic)=\($0.payload)" }
      resident.queue = []
      #expect(access.received(resident.name) == expected, "\(resident.name)")
    }

    func leave(_ resident: Resident) {
      resident.isHere = false
      let topic = resident.willTopic
      world.lose(resident.name)
      if let topic, may(true, resident, topic) { expect(topic, "gone") }
    }

    func subscribe(_ resident: Resident) {
      let filter = pick(Day.filters)
      let codes = access.subscribe(resident.name, Filter(filter, qos: 1))
      let readable = Day.topics.filter { isMatch(filter, $0) && may(false, resident, $0) }
      guard codes == [.grantedQoS1] else {
        #expect(codes.count == 1 && codes[0].isError && readable.isEmpty, "\(filter) of \(resident.name)")
        resident.filters.remove(filter)
        return world.expectNothing(resident.name)
      }
      resident.filters.insert(filter)
      let expected = readable.compactMap { topic in retained[topic].map { "\(topic)=\($0)" } }
      #expect(access.received(resident.name).sorted() == expected.sorted(), "\(filter) of \(resident.name)")
    }

    func publish(by resident: Resident?) {
      let topic = pick(Day.topics.filter { resident == nil || !$0.hasPrefix("$") })
      let retain = random.oneIn(4)
      let payload = retain && random.oneIn(3) ? "" : next()
      var isAllowed = true
      if let resident {
        isAllowed = may(true, resident, topic)
        let before = access.denied[0]
        world.send(resident.name, .publish(topic: topic, payload: payload, qos: 1, packetID: 1, retain: retain))
        let place = world.client(resident.name).packets.firstIndex { if case .pubAck = $0 { true } else { false } }
        let answer = world.client(resident.name).packets.remove(at: place!)
        #expect(answer.reason?.isError == (!isAllowed && resident.version == .v5))
        #expect(access.denied[0] == before + (isAllowed ? 0 : 1))
      } else {
        world.publish(topic: topic, payload: payload, qos: .atLeastOnce, retain: retain)
      }
      guard isAllowed else { return }
      if retain { retained[topic] = payload.isEmpty ? nil : payload }
      expect(topic, payload)
    }

    func next() -> String {
      number += 1
      return "\(number)"
    }

    /// A message has been published: those who may read it, and want it, have it or will have it.
    func expect(_ topic: String, _ payload: String) {
      for resident in residents {
        let isWanted = resident.filters.contains { isMatch($0, topic) } && may(false, resident, topic)
        if resident.isHere {
          #expect(
            access.received(resident.name) == (isWanted ? ["\(topic)=\(payload)"] : []), "\(topic) to \(resident.name)")
        } else if isWanted {
          resident.queue.append((topic, payload))
        }
      }
    }

    func step() {
      let resident = pick(residents)
      switch random.below(12) {
      case 0: reload()
      case 1, 2: if resident.isHere { leave(resident) } else { come(resident) }
      case 3, 4: if resident.isHere { subscribe(resident) } else { come(resident) }
      case 5: publish(by: nil)
      default: if resident.isHere { publish(by: resident) } else { come(resident) }
      }
      for resident in residents where resident.isHere { world.expectNothing(resident.name) }
    }
  }

  @Test(arguments: Array(1...12) as [UInt64]) func rightsOfADay(seed: UInt64) {
    let day = Day(seed: seed)
    for _ in 0..<250 { day.step() }
    let broker = day.world.broker.counters
    #expect(broker.publishesDenied > 0 && broker.deliveriesDenied > 0)
    day.world.finish()
  }
}
